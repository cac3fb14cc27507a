//! Operations that involve more than one part of the engine, and code that several handlers share,
//! one file each. They take only the parts that they need.

pub(crate) mod canonical_alias;
pub(crate) mod change_membership;
pub(crate) mod create_room;
pub(crate) mod deactivate_account;
pub(crate) mod delete_alias;
pub(crate) mod find_room;
pub(crate) mod join_room;
pub(crate) mod large_answer;
pub(crate) mod lazy_members;
pub(crate) mod own_user;
pub(crate) mod reading_device;
pub(crate) mod reason;
pub(crate) mod set_profile;
pub(crate) mod state_checks;
pub(crate) mod walk;
