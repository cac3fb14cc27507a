use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits for each user and each address.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Whether the rates below apply. The limits in bytes and the totals always apply.
    pub enabled: bool,

    /// The maximum size of a request body, in bytes. A larger one is refused with `M_TOO_LARGE`.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub max_request_bytes: u32,

    /// How many bytes of memory large answers may take on one node: first syncs and those after a
    /// long absence, member lists, room state, pages of history. Further ones wait, and are refused
    /// with `M_LIMIT_EXCEEDED` after half a minute.
    ///
    /// A first sync takes about four kilobytes per event: 40 MB for 100 rooms of 100 members each,
    /// if the client asks for all members.
    #[schemars(range(min = 16_777_216, max = 4_294_967_295_u32))]
    pub large_response_bytes: u32,

    /// Messages of one user, and other operations that add an event to a room. An operation that
    /// adds several events counts once for each.
    pub messages: Rate,

    /// Events that one user writes by creating rooms: about eight per room, and one for each user
    /// invited to it. A room with more events than are left can still be created; the next one then
    /// has to wait.
    pub room_creation: Rate,

    /// Events that one user writes by changing their name or avatar: one for each room that they
    /// are in. As with new rooms, a change can have more events than are left.
    pub profiles: Rate,

    /// Other changes of one user: account data, filters, aliases, sessions, password. Account data
    /// counts once more for each 16 KiB. Changing the password and deactivating the account count
    /// five times.
    pub writes: Rate,

    /// Typing notifications and receipts of one user.
    pub ephemeral: Rate,

    /// Requests of one user that are cheap to answer.
    pub reads: Rate,

    /// Requests of one user that read a lot: pages of history, members, whole room states, the room
    /// directory. A first sync counts ten times. A later one counts once if it takes more than 1
    /// MiB of memory, four times if more than 4 MiB, and ten times if more than 16 MiB.
    pub heavy_reads: Rate,

    /// Incremental syncs of one user, from all their devices together.
    pub syncs: Rate,

    /// Requests from one address without a known access token, except those below, and requests to
    /// log out. Refreshing an access token and creating an account with the shared secret count
    /// five times.
    pub anonymous: Rate,

    /// Attempts to log in or register from one address, checks whether a user name is free, and
    /// other operations that ask for the password.
    ///
    /// For everything that is counted by address, all addresses of an IPv6 /64 network count as
    /// one.
    pub logins: Rate,

    /// Failed logins of one account, from any address. When they are used up, even the right
    /// password is refused for a while.
    pub failed_logins: Rate,

    /// Accounts created from one address.
    pub registrations: Rate,

    /// What one user may store.
    ///
    /// These totals apply even if `enabled` is false.
    pub totals: Totals,
}

/// What one user may store.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// How many bytes of account data one user may have, including that of all rooms. Beyond this,
    /// a change that adds bytes is refused with `M_TOO_LARGE`.
    ///
    /// A first sync returns all of it.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub account_data_bytes: u32,

    /// How many types of account data one user may have globally, and as many again for each room.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub account_data_types: u32,

    /// How many devices one user may have. A login on one more succeeds, and logs out the device
    /// that has been unused for longest.
    ///
    /// So a script that keeps logging in as a new device keeps working, and nobody is locked out of
    /// their account.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub devices: u32,

    /// How many filters one user may store. Further ones are refused with `M_TOO_LARGE`; clients
    /// can still send a filter with each request.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub filters: u32,

    /// How many rooms one user may be in. Joining or creating another one is refused with
    /// `M_FORBIDDEN`; invitations are not.
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

/// A rate: `burst` times at once, and then `per_minute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many are allowed per minute in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_minute: NonZeroU32,

    /// How many are allowed at once after a quiet period.
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
