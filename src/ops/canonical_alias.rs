//! Checks of `m.room.canonical_alias` before it is set.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#mroomcanonical_alias>

use std::collections::BTreeSet;

use http::StatusCode;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedRoomAliasId, RoomAliasId, UserId,
    api::error::ErrorKind, events::StateEventType,
};
use stoa_cluster::Freshness;
use stoa_directory::Directory;
use stoa_http::{Error, Result};
use stoa_rooms::{Room, Rooms};

/// Refuses aliases that do not point to the room, unless they are already in its state: aliases
/// that were valid once do not prevent changing the others.
pub(super) async fn check(
    rooms: &Rooms,
    directory: &Directory,
    freshness: &Freshness,
    sender: &UserId,
    room: &Room,
    content: &CanonicalJsonObject,
) -> Result<()> {
    let wanted = aliases(content)?;
    if wanted.is_empty() {
        return Ok(());
    }
    // Users outside the room must not learn from the answer which aliases it has.
    if !is_joined(rooms, freshness, sender, room).await? {
        return Err(Error::forbidden("You are not in this room."));
    }
    let current = rooms.known.committed(room).await?.state;
    let kind = StateEventType::RoomCanonicalAlias;
    let present = match rooms.state_events.unchecked_entry(current, &kind, "").await? {
        Some(event) => serde_json::from_str(event.pdu.content.get())
            .ok()
            .and_then(|content| aliases(&content).ok())
            .unwrap_or_default(),
        None => BTreeSet::new(),
    };
    for alias in wanted.difference(&present) {
        let leads_to = directory.resolve(alias).await?;
        if leads_to.is_none_or(|found| found.room.nid != room.nid) {
            return Err(leads_elsewhere(alias));
        }
    }
    Ok(())
}

/// Whether the user is joined. If this node does not know of a join, it reads the log first.
async fn is_joined(
    rooms: &Rooms,
    freshness: &Freshness,
    user_id: &UserId,
    room: &Room,
) -> Result<bool> {
    let is_joined = async || -> Result<bool> {
        let membership = rooms.memberships.in_room(user_id, room).await?;
        Ok(membership.is_some_and(|membership| membership.is_joined()))
    };
    if is_joined().await? {
        return Ok(true);
    }
    freshness.current().await?;
    is_joined().await
}

/// Refuses aliases in a new room's state that do not point to it: all but the one created with the
/// room.
pub(super) fn check_new(made: Option<&RoomAliasId>, content: &CanonicalJsonObject) -> Result<()> {
    match aliases(content)?.iter().find(|alias| Some(&***alias) != made) {
        Some(alias) => Err(leads_elsewhere(alias)),
        None => Ok(()),
    }
}

fn leads_elsewhere(alias: &RoomAliasId) -> Error {
    let message = format!("`{alias}` does not lead to this room.");
    Error::new(StatusCode::BAD_REQUEST, ErrorKind::BadAlias, message)
}

/// All aliases in the content.
fn aliases(content: &CanonicalJsonObject) -> Result<BTreeSet<OwnedRoomAliasId>> {
    let mut named = BTreeSet::new();
    match content.get("alias") {
        None | Some(CanonicalJsonValue::Null) => {}
        Some(alias) => {
            named.insert(parse(alias)?);
        }
    }
    match content.get("alt_aliases") {
        None => {}
        Some(CanonicalJsonValue::Array(aliases)) => {
            for alias in aliases {
                named.insert(parse(alias)?);
            }
        }
        Some(_) => return Err(Error::bad_json("`alt_aliases` is a list.")),
    }
    Ok(named)
}

fn parse(alias: &CanonicalJsonValue) -> Result<OwnedRoomAliasId> {
    let alias = alias.as_str().ok_or_else(|| Error::bad_json("An alias must be a string."))?;
    OwnedRoomAliasId::try_from(alias)
        .map_err(|error| Error::invalid_param(format!("`{alias}` is no alias: {error}.")))
}
