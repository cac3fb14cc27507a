//! Rooms.

pub(crate) mod ban;
mod canonical_alias;
mod change_membership;
pub(crate) mod context;
pub(crate) mod create_room;
pub(crate) mod forget;
pub(crate) mod get_event;
pub(crate) mod get_state;
pub(crate) mod get_state_event;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
pub(crate) mod kick;
pub(crate) mod knock;
pub(crate) mod lazy_members;
pub(crate) mod leave;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod redact;
pub(crate) mod send;
pub(crate) mod set_state;
mod state_checks;
pub(crate) mod unban;

use std::sync::Arc;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, RoomAliasId, RoomId, RoomOrAliasId};
use stoa_http::{Error, Result};
use stoa_rooms::{Room, RoomError, Rooms};

use crate::app::AppState;

/// A room of which the reader should be a member: one that is not known here is refused like one
/// that they are not in.
pub(super) async fn known_room(rooms: &Rooms, room_id: &RoomId) -> Result<Arc<Room>> {
    match rooms.room(room_id).await {
        Err(RoomError::NotFound(_)) => Err(Error::forbidden("You are not in this room.")),
        room => Ok(room?),
    }
}

/// A room by its ID or alias, for one who wants to get in.
async fn find_room(state: &AppState, id_or_alias: &RoomOrAliasId) -> Result<Arc<Room>> {
    let not_found = || Error::not_found(format!("There is no room `{id_or_alias}` here."));
    if let Ok(alias) = <&RoomAliasId>::try_from(id_or_alias) {
        return Ok(state.directory.resolve(alias).await?.ok_or_else(not_found)?.room);
    }
    let room_id = <&RoomId>::try_from(id_or_alias).map_err(|_| not_found())?;
    match state.rooms.room(room_id).await {
        Err(RoomError::NotFound(_)) => Err(not_found()),
        room => Ok(room?),
    }
}

/// The reason that a body gives for what it asks for.
fn take_reason(body: &mut CanonicalJsonObject) -> Result<Option<String>> {
    match body.remove("reason") {
        None | Some(CanonicalJsonValue::Null) => Ok(None),
        Some(CanonicalJsonValue::String(reason)) => Ok(Some(reason)),
        Some(_) => Err(Error::bad_json("`reason` is a text.")),
    }
}
