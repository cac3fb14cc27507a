//! Finding the room that a request names.

use std::sync::Arc;

use ruma::{RoomAliasId, RoomId, RoomOrAliasId};
use stoa_directory::Directory;
use stoa_http::{Error, Result};
use stoa_rooms::{Room, RoomError, Rooms};

/// Finds a room that the reader should be a member of. A room unknown here is refused like one that
/// the reader is not in.
pub(crate) async fn known_room(rooms: &Rooms, room_id: &RoomId) -> Result<Arc<Room>> {
    match rooms.known.by_id(room_id).await {
        Err(RoomError::NotFound(_)) => Err(Error::forbidden("You are not in this room.")),
        room => Ok(room?),
    }
}

/// Finds a room by its ID or alias, for a user who wants to join or knock.
pub(crate) async fn find_room(
    rooms: &Rooms,
    directory: &Directory,
    id_or_alias: &RoomOrAliasId,
) -> Result<Arc<Room>> {
    let not_found = || Error::not_found(format!("The room `{id_or_alias}` is not known here."));
    if let Ok(alias) = <&RoomAliasId>::try_from(id_or_alias) {
        return Ok(directory.resolve(alias).await?.ok_or_else(not_found)?.room);
    }
    let room_id = <&RoomId>::try_from(id_or_alias).map_err(|_| not_found())?;
    match rooms.known.by_id(room_id).await {
        Err(RoomError::NotFound(_)) => Err(not_found()),
        room => Ok(room?),
    }
}
