//! Server discovery: addresses, versions and capabilities.

pub(crate) mod discover_homeserver;
pub(crate) mod get_capabilities;
pub(crate) mod get_supported_versions;
