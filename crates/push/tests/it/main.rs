//! What users are told of, from outside.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod fixture;
mod read_state;
