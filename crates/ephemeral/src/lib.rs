//! Short-lived state that need not survive a crash: typing notifications.
//!
//! Its changes are numbered by a counter of their own, separate from the log. The counter starts
//! again with each epoch; a reader who comes from another epoch gets the current state.

mod typing;

pub use self::typing::{Typing, TypingError};
