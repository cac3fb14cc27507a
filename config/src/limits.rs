use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one user or one address may ask of the server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Whether the rates below hold. The limit on the size of a request always does.
    pub enabled: bool,

    /// The largest body of a request, in bytes. A larger one is refused with `M_TOO_LARGE`.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub max_request_bytes: u32,

    /// What one user may send: messages, and everything else that adds an event to a room.
    pub messages: Rate,

    /// Attempts to log in from one address.
    pub logins: Rate,

    /// Attempts to log in to one account that failed, from wherever they came. When they are used
    /// up, the right password has to wait too.
    pub failed_logins: Rate,

    /// Accounts made from one address.
    pub registrations: Rate,
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
            messages: Rate::new(600, 100),
            logins: Rate::new(60, 30),
            failed_logins: Rate::new(5, 10),
            registrations: Rate::new(10, 10),
        }
    }
}
