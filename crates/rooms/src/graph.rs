//! The event graph: PDUs and events, the states between them, power levels and authorization, and
//! the resolution of forks.
//!
//! Nothing here checks who is reading.

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
