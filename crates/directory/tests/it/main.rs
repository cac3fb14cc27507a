//! Tests of the public API of the directory.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod aliases;
mod fixture;
mod list;
