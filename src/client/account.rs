//! One's own account and devices.

pub(crate) mod deactivate;
pub(crate) mod devices;
pub(crate) mod password;
pub(crate) mod whoami;
