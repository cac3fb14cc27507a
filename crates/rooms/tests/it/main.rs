//! The engine's rooms, from outside.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod fixture;
mod receive;
mod state_resolution;
