//! Aliases of rooms, and the room list.

pub(crate) mod create_alias;
pub(crate) mod delete_alias;
pub(crate) mod get_alias;
pub(crate) mod public_rooms;
pub(crate) mod room_aliases;
pub(crate) mod visibility;
