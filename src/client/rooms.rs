//! Rooms.

pub(crate) mod context;
pub(crate) mod get_event;
pub(crate) mod get_state;
pub(crate) mod get_state_event;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
pub(crate) mod lazy_members;
pub(crate) mod members;
pub(crate) mod messages;
