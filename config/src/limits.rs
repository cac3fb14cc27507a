use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one user or one address may ask of the server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Whether the rates below hold. The limits in bytes and the totals always do.
    pub enabled: bool,

    /// The largest body of a request, in bytes. A larger one is refused with `M_TOO_LARGE`.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub max_request_bytes: u32,

    /// How many bytes of memory large answers may take on one node: first syncs and those after a
    /// long absence, lists of members, states, pages of history. Further ones wait, and are refused
    /// with `M_LIMIT_EXCEEDED` after half a minute.
    ///
    /// A first sync takes about four kilobytes for each event in it: 40 MB for 100 rooms of 100
    /// members where the client asks for all of them.
    #[schemars(range(min = 16_777_216, max = 4_294_967_295_u32))]
    pub large_response_bytes: u32,

    /// What one user may send: messages, and everything else that adds an event to a room. An
    /// operation that adds several counts as many times.
    pub messages: Rate,

    /// What one user may write by making rooms, in events: about eight for a room, and one for
    /// each user who is invited with it. A room that is larger than what is left can still be
    /// made; the next one then waits.
    pub room_creation: Rate,

    /// What one user may write by changing their name or avatar, in events: one for each room that
    /// they are in. As with rooms, a change can be larger than what is left.
    pub profiles: Rate,

    /// What else one user may change: account data, filters, aliases, their sessions, their
    /// password. Account data counts once more for each 16 KiB; changing the password and closing
    /// the account count five times.
    pub writes: Rate,

    /// Typing notifications and receipts of one user.
    pub ephemeral: Rate,

    /// Requests of one user that cost little to answer.
    pub reads: Rate,

    /// Requests of one user that read much: pages of history, members, whole states, the room
    /// list. A first sync counts ten times. A later one counts once where it takes more than 1 MiB of
    /// memory, four times where it takes more than 4 MiB, and ten times where more than 16 MiB.
    pub heavy_reads: Rate,

    /// Syncs of one user, over all their devices, that go on from an earlier one.
    pub syncs: Rate,

    /// Requests from one address without a known access token, and to log out, apart from those
    /// below. Refreshing an access token, and making an account with the shared secret, count five
    /// times.
    pub anonymous: Rate,

    /// Attempts to log in or to register from one address, questions whether a user name is free,
    /// and whatever else asks for the password.
    ///
    /// Wherever something is counted by address, all addresses of one IPv6 network of 64 bits
    /// count as one.
    pub logins: Rate,

    /// Attempts to log in to one account that failed, from wherever they came. When they are used
    /// up, the right password has to wait too.
    pub failed_logins: Rate,

    /// Accounts made from one address.
    pub registrations: Rate,

    /// How much one user may have of something.
    ///
    /// These totals hold even where `enabled` is false.
    pub totals: Totals,
}

/// What one user may have.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// How many bytes of account data one user may have, over all rooms. Beyond it, what is larger
    /// than before is refused with `M_TOO_LARGE`.
    ///
    /// A first sync answers with all of it.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub account_data_bytes: u32,

    /// How many types of account data one user may have for their account, and as many again for
    /// each room.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub account_data_types: u32,

    /// How many devices one user may have. A log-in on one more succeeds, and logs out the one that
    /// has been unused for longest.
    ///
    /// So a script that logs in as a new device again and again keeps working, and nobody is locked
    /// out of their account.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub devices: u32,

    /// How many filters one user may store. Further ones are refused with `M_TOO_LARGE`; clients
    /// can still give a filter with each request.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub filters: u32,

    /// How many rooms one user may be in. Joining or making another one is refused with
    /// `M_FORBIDDEN`; being invited is not.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub joined_rooms: u32,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            account_data_bytes: 16 * 1024 * 1024,
            account_data_types: 1_000,
            devices: 500,
            filters: 1_000,
            joined_rooms: 10_000,
        }
    }
}

/// How often something may happen: `burst` times at once, and then `per_minute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many a minute are allowed in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_minute: NonZeroU32,

    /// How many may come at once after a quiet time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate for a default; zero counts as one.
    const fn new(per_minute: u32, burst: u32) -> Self {
        const fn at_least_one(number: u32) -> NonZeroU32 {
            match NonZeroU32::new(number) {
                Some(number) => number,
                None => NonZeroU32::MIN,
            }
        }
        Self { per_minute: at_least_one(per_minute), burst: at_least_one(burst) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            enabled: true,
            max_request_bytes: 1024 * 1024,
            large_response_bytes: 512 * 1024 * 1024,
            messages: Rate::new(600, 100),
            room_creation: Rate::new(600, 2_000),
            profiles: Rate::new(600, 10_000),
            writes: Rate::new(600, 300),
            ephemeral: Rate::new(1_200, 1_000),
            reads: Rate::new(6_000, 2_000),
            heavy_reads: Rate::new(1_200, 300),
            syncs: Rate::new(12_000, 2_000),
            anonymous: Rate::new(6_000, 2_000),
            logins: Rate::new(60, 30),
            failed_logins: Rate::new(5, 10),
            registrations: Rate::new(10, 10),
            totals: Totals::default(),
        }
    }
}
