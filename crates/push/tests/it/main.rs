//! Tests of the public API of read state.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod fixture;
mod read_state;
