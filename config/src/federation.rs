use ruma::OwnedServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse;

/// How other Matrix servers find this one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Federation {
    /// The host and port at which other Matrix servers reach this one, if that is not port 8448 of
    /// `server_name`.
    ///
    /// The server gives it to them at `/.well-known/matrix/server`. Without a port, they look for
    /// an SRV record of the host, and use port 8448 if there is none. If it is not set, they find
    /// nothing there and connect to `server_name`. This version does not federate yet: apart from
    /// this, other servers can only ask which software runs here.
    #[serde(default, deserialize_with = "parse::host")]
    #[schemars(with = "Option<String>", example = "matrix.example.com:443")]
    pub well_known: Option<OwnedServerName>,
}
