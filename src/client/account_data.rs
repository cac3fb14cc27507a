//! What clients keep on the server for themselves.

pub(crate) mod global;
pub(crate) mod room;
