//! What stands around an event.

pub(crate) mod get_context;
