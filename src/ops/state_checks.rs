//! Checks of a state event before it is set, by itself or with a new room, so that nothing can be
//! set that the dedicated endpoint would refuse.

use ruma::{CanonicalJsonObject, CanonicalJsonValue, RoomAliasId, UserId, events::StateEventType};
use stoa_cluster::Freshness;
use stoa_directory::Directory;
use stoa_http::{Error, Result};
use stoa_rooms::{Room, Rooms};

use crate::ops::{canonical_alias, change_membership::check_invitee};

/// Checks a state event for an existing room.
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

/// Checks a state event of `initial_state`. `alias` is created with the room.
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
    // Some servers look only at the type and would apply the redaction, even if the sender must not
    // redact the event.
    if kind.to_string() == "m.room.redaction" {
        return Err(Error::invalid_param(
            "`m.room.redaction` cannot be set as state. Redact the event instead.",
        ));
    }
    Ok(())
}
