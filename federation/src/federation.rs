//! The parts of the server that the server-server API needs.

use ruma::OwnedServerName;

/// The parts of the server that the server-server API needs.
#[derive(Clone, Debug)]
pub struct Federation {
    /// The host, with or without a port, that serves the server name, if the admin has set it.
    pub well_known: Option<OwnedServerName>,
}
