//! Changing rooms: what users of this server do, and what comes from other servers.
//!
//! A change is built on the head of its room (`change.rs`) and consists of events. This server's
//! own events are built and signed (`stage.rs`); those of other servers are checked (`receive.rs`).
//! The effects of an event are the same for both (`advance.rs`).

pub(crate) mod advance;
pub(crate) mod audit;
pub(crate) mod change;
mod content;
pub(crate) mod create;
pub(crate) mod join_limit;
pub(crate) mod membership;
pub(crate) mod once;
pub(crate) mod receive;
mod redact;
pub(crate) mod redaction;
pub(crate) mod restricted_join;
pub(crate) mod send;
pub(crate) mod stage;
