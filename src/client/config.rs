//! Account data: what clients keep on the server for themselves.

pub(crate) mod get_global_account_data;
pub(crate) mod get_room_account_data;
pub(crate) mod set_global_account_data;
pub(crate) mod set_room_account_data;

/// How many bytes of content cost as much as the operation itself.
const UNIT: usize = 16 * 1_024;
