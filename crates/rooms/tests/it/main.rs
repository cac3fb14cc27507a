//! Tests of rooms through the public interface of the crate.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod create;
mod evicted;
mod fixture;
mod lost_log;
mod membership;
mod newer_versions;
mod receive;
mod redact;
mod send;
mod state_resolution;
mod support;
mod unknown_outcome;
mod whole_rooms;
