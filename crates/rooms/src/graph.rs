//! The event graph: PDUs and events, the states between them, who may do what in a state, and what
//! becomes of a room that forks.
//!
//! Nothing here asks who reads.

pub(crate) mod auth_events;
pub(crate) mod chunks;
pub(crate) mod event;
pub(crate) mod events;
pub(crate) mod forks;
pub mod pdu;
pub(crate) mod power;
pub(crate) mod redacted;
pub mod resolution;
pub mod state;
pub(crate) mod state_events;
