//! Filters of events.

pub(crate) mod create_filter;
pub(crate) mod get_filter;
