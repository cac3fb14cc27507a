//! Making accounts.

pub(crate) mod available;
pub(crate) mod register;
pub(crate) mod shared_secret;
