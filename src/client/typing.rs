//! Typing notifications.

pub(crate) mod set_typing;
