use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What anyone can read without logging in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    /// Whether anyone can read the room directory: names, topics and sizes of published rooms.
    pub room_list: bool,

    /// Whether anyone can read the profiles of users: names, avatars, and other fields that users
    /// set.
    ///
    /// This also reveals who has an account on this server.
    pub profiles: bool,
}

impl Default for Anonymous {
    /// Clients read profiles before they log in, which the specification allows. The room directory
    /// can tell strangers more about a company than it wants them to know.
    fn default() -> Self {
        Self { room_list: false, profiles: true }
    }
}
