//! What other servers may ask for: a file for each operation, with its handler and its tests.

pub(crate) mod discover_homeserver;
pub(crate) mod get_server_version;
