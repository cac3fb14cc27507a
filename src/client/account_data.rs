//! What clients keep on the server for themselves.

pub(crate) mod global;
pub(crate) mod room;

/// How many bytes of content cost as much as the operation itself.
const UNIT: usize = 16 * 1_024;
