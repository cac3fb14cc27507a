//! The context of an event.

pub(crate) mod get_context;
