use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may be read by whoever reaches the server, without logging in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    /// Whether the room list may be read: the names, topics and sizes of published rooms.
    pub room_list: bool,

    /// Whether the profiles of users may be read: names, avatars, and what else users put there.
    ///
    /// It also says who has an account here.
    pub profiles: bool,
}

impl Default for Anonymous {
    /// Clients read profiles before they log in, and the specification lets them. The room list
    /// tells more about a company than it wants strangers to know.
    fn default() -> Self {
        Self { room_list: false, profiles: true }
    }
}
