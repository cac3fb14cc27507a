//! What the server is, and what it can do.

pub(crate) mod discover_homeserver;
pub(crate) mod get_capabilities;
pub(crate) mod get_supported_versions;
