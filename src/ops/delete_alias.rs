//! Deleting an alias, which the room's state may name.

use std::sync::Arc;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, RoomAliasId, events::StateEventType};
use stoa_accounts::Session;
use stoa_base::Actor;
use stoa_directory::Directory;
use stoa_http::Result;
use stoa_rooms::{Room, RoomError, Rooms};

/// Deletes an alias for the actor, and first removes it from the room's `m.room.canonical_alias` if
/// the actor may change that.
///
/// If this fails half-way, the alias still exists, and the next attempt does the rest.
pub(crate) async fn delete_alias(
    rooms: &Rooms,
    directory: &Directory,
    actor: &Actor,
    session: &Session,
    alias: &RoomAliasId,
) -> Result<()> {
    let is_admin = session.is_admin;
    let room = directory.check_deletion(actor, is_admin, alias).await?;
    match unname(rooms, actor, session, &room, alias).await {
        // The alias is deleted even so.
        Ok(()) | Err(RoomError::Forbidden(_)) => {}
        Err(error) => return Err(error.into()),
    }
    directory.delete_alias(actor, is_admin, alias).await?;
    Ok(())
}

async fn unname(
    rooms: &Rooms,
    actor: &Actor,
    session: &Session,
    room: &Arc<Room>,
    alias: &RoomAliasId,
) -> stoa_rooms::Result<()> {
    let kind = StateEventType::RoomCanonicalAlias;
    let current = rooms.known.committed(room).await?.state;
    let Some(event) = rooms.state_events.unchecked_entry(current, &kind, "").await? else {
        return Ok(());
    };
    let Ok(before) = serde_json::from_str::<CanonicalJsonObject>(event.pdu.content.get()) else {
        return Ok(());
    };
    let content = without(&before, alias.as_str());
    if content == before {
        return Ok(());
    }
    let session = Some(&*session.id);
    rooms.sending.send_state(actor, session, room, kind, "", content).await?;
    Ok(())
}

/// The content without the alias, and without `alt_aliases` if that becomes empty.
fn without(content: &CanonicalJsonObject, alias: &str) -> CanonicalJsonObject {
    let mut content = content.clone();
    let is_alias = |value: &CanonicalJsonValue| value.as_str() == Some(alias);
    if content.get("alias").is_some_and(is_alias) {
        content.remove("alias");
    }
    if let Some(CanonicalJsonValue::Array(others)) = content.get_mut("alt_aliases")
        && others.iter().any(is_alias)
    {
        others.retain(|other| !is_alias(other));
        if others.is_empty() {
            content.remove("alt_aliases");
        }
    }
    content
}
