//! What is true for a moment and need not outlive a crash: who is typing.
//!
//! It is numbered by a counter of its own, apart from the log. The counter begins again with each
//! epoch; a reader who knows another epoch is given what is current.

mod typing;

pub use self::typing::{Typing, TypingError};
