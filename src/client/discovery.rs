//! What the server is, and what it can do.

pub(crate) mod capabilities;
pub(crate) mod versions;
pub(crate) mod well_known;
