//! Tests of the public API of typing notifications.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod typing;
