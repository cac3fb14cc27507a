//! Checks of an entry of state before it is set, by itself or with a new room, so that nothing can
//! be set in these ways that the operation made for it would refuse.

use ruma::{CanonicalJsonObject, CanonicalJsonValue, RoomAliasId, UserId, events::StateEventType};
use stoa_cluster::Freshness;
use stoa_directory::Directory;
use stoa_http::{Error, Result};
use stoa_rooms::{Room, Rooms};

use crate::ops::{canonical_alias, change_membership::check_invitee};

/// Checks an entry of the state of a room that exists.
pub(crate) async fn check(
    rooms: &Rooms,
    directory: &Directory,
    freshness: &Freshness,
    sender: &UserId,
    room: &Room,
    (kind, state_key): (&StateEventType, &str),
    content: &CanonicalJsonObject,
) -> Result<()> {
    if *kind == StateEventType::RoomCanonicalAlias && state_key.is_empty() {
        canonical_alias::check(rooms, directory, freshness, sender, room, content).await?;
    }
    check_any(rooms, (kind, state_key), content)
}

/// Checks an entry of the state that a room begins with. `alias` is made with it.
pub(crate) fn check_new(
    rooms: &Rooms,
    alias: Option<&RoomAliasId>,
    (kind, state_key): (&StateEventType, &str),
    content: &CanonicalJsonObject,
) -> Result<()> {
    if *kind == StateEventType::RoomCanonicalAlias && state_key.is_empty() {
        canonical_alias::check_new(alias, content)?;
    }
    check_any(rooms, (kind, state_key), content)
}

fn check_any(
    rooms: &Rooms,
    (kind, state_key): (&StateEventType, &str),
    content: &CanonicalJsonObject,
) -> Result<()> {
    let membership = content.get("membership").and_then(CanonicalJsonValue::as_str);
    if *kind == StateEventType::RoomMember
        && membership == Some("invite")
        && let Ok(invitee) = <&UserId>::try_from(state_key)
    {
        check_invitee(rooms, invitee)?;
    }
    // It would redact for those servers that look at the type alone, whatever the sender may redact.
    if kind.to_string() == "m.room.redaction" {
        return Err(Error::invalid_param(
            "`m.room.redaction` cannot be set as state. Redact the event instead.",
        ));
    }
    Ok(())
}
