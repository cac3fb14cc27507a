//! What a client wants to hear of.

pub(crate) mod create_filter;
pub(crate) mod get_filter;
