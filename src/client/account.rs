//! Accounts: registration, and a user's own account.

pub(crate) mod change_password;
pub(crate) mod deactivate;
pub(crate) mod get_username_availability;
pub(crate) mod register;
pub(crate) mod register_with_shared_secret;
pub(crate) mod whoami;
