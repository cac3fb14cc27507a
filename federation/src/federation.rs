//! What the server-server API needs of the server.

use ruma::OwnedServerName;

/// What the server-server API needs of the server.
#[derive(Clone, Debug)]
pub struct Federation {
    /// Where the server name is served, a host with or without a port, if the admin has set it.
    pub well_known: Option<OwnedServerName>,
}
