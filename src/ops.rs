//! Operations that concern more than one part of the engine, a file for each.

pub(crate) mod deactivate_account;
pub(crate) mod delete_alias;
pub(crate) mod set_profile;
