use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// How accounts come to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Whether everybody who reaches the server may make an account.
    ///
    /// While it is off, `stoa create-user` and the shared secret still make them.
    pub enabled: bool,

    /// Who knows this secret may make accounts, admins too, through
    /// `/_synapse/admin/v1/register`. Without it, that is closed.
    #[schemars(example = "a long random string")]
    pub shared_secret: Option<Secret>,
}
