//! Creating a room that others can find.

use std::sync::Arc;

use http::StatusCode;
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, api::error::ErrorKind};
use stoa_base::Actor;
use stoa_directory::{Directory, DirectoryError, Reservation};
use stoa_http::{Error, Result, detached};
use stoa_rooms::{CreateRoom, Rooms};

/// Where others find a new room.
#[derive(Debug)]
pub(crate) struct Findable {
    /// Its alias, which becomes the canonical one.
    pub(crate) alias: Option<OwnedRoomAliasId>,
    /// Whether it is published in the room directory.
    pub(crate) is_public: bool,
}

/// Creates a room, with its alias and its entry in the room directory.
///
/// An alias that points to another room is refused before anything is written. If the client hangs
/// up, the creation is still finished, so no room is left without its alias.
pub(crate) async fn create_room(
    rooms: Arc<Rooms>,
    directory: Arc<Directory>,
    actor: Actor,
    session: String,
    mut create: CreateRoom,
    findable: Findable,
) -> Result<OwnedRoomId> {
    let reservation = match &findable.alias {
        Some(alias) => Some(reserve(&directory, &actor, alias).await?),
        None => None,
    };
    create.canonical_alias = reservation.as_ref().map(|reserved| reserved.alias().to_string());
    let work = async move {
        let room_id = match rooms.creation.create(&actor, Some(&session), create).await {
            Ok(room_id) => room_id,
            Err(error) => {
                if let Some(reservation) = reservation {
                    directory.release(reservation).await?;
                }
                return Err(error.into());
            }
        };
        let room = rooms.known.by_id(&room_id).await?;
        if let Some(reservation) = reservation {
            directory.add(reservation, &room).await?;
        }
        if findable.is_public {
            directory.publish(&room).await?;
        }
        Ok(room_id)
    };
    detached(work).await?
}

async fn reserve(directory: &Directory, actor: &Actor, alias: &RoomAliasId) -> Result<Reservation> {
    match directory.reserve(actor, alias).await {
        Err(DirectoryError::Taken) => Err(in_use(alias)),
        reserved => Ok(reserved?),
    }
}

fn in_use(alias: &RoomAliasId) -> Error {
    let message = format!("`{alias}` points to another room.");
    Error::new(StatusCode::BAD_REQUEST, ErrorKind::RoomInUse, message)
}
