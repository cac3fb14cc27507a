//! Knocking on rooms.

pub(crate) mod knock_room;
