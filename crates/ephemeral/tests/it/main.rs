//! What is true for a moment, from outside.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod typing;
