use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// How accounts are created.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Whether anyone can create an account.
    ///
    /// If not, `stoa create-user` and the shared secret can still create accounts.
    pub enabled: bool,

    /// The secret for creating accounts, including admins, through `/_synapse/admin/v1/register`.
    /// If it is not set, that endpoint is closed.
    #[schemars(example = "a long random string")]
    pub shared_secret: Option<Secret>,
}
