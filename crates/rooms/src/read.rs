//! Reading rooms: what a given user may see of timelines, states and members, and how that is
//! serialized for clients.

pub(crate) mod client_format;
pub(crate) mod erased;
pub(crate) mod members;
pub(crate) mod page;
pub(crate) mod room_state;
pub(crate) mod state_changes;
pub(crate) mod stays;
pub(crate) mod timeline;
pub mod tokens;
pub(crate) mod visibility;
pub(crate) mod visible_state;
