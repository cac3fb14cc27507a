//! The operations that other servers call, one file for each, with its handler and tests.

pub(crate) mod discover_homeserver;
pub(crate) mod get_server_version;
