//! How far users have read.

pub(crate) mod set_read_markers;
pub(crate) mod set_receipt;
