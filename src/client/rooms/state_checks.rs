//! Checks of an entry of state before it is set, by itself or with a new room, so that nothing can
//! be set in these ways that the operation made for it would refuse.

use ruma::{CanonicalJsonObject, CanonicalJsonValue, RoomAliasId, UserId, events::StateEventType};
use stoa_http::{Error, Result};
use stoa_rooms::Room;

use super::{canonical_alias, change_membership::check_invitee};
use crate::app::AppState;

/// Checks an entry of the state of a room that exists.
pub(super) async fn check(
    state: &AppState,
    sender: &UserId,
    room: &Room,
    (kind, state_key): (&StateEventType, &str),
    content: &CanonicalJsonObject,
) -> Result<()> {
    if *kind == StateEventType::RoomCanonicalAlias && state_key.is_empty() {
        canonical_alias::check(state, sender, room, content).await?;
    }
    check_any(state, (kind, state_key), content)
}

/// Checks an entry of the state that a room begins with. `alias` is made with it.
pub(super) fn check_new(
    state: &AppState,
    alias: Option<&RoomAliasId>,
    (kind, state_key): (&StateEventType, &str),
    content: &CanonicalJsonObject,
) -> Result<()> {
    if *kind == StateEventType::RoomCanonicalAlias && state_key.is_empty() {
        canonical_alias::check_new(alias, content)?;
    }
    check_any(state, (kind, state_key), content)
}

fn check_any(
    state: &AppState,
    (kind, state_key): (&StateEventType, &str),
    content: &CanonicalJsonObject,
) -> Result<()> {
    let membership = content.get("membership").and_then(CanonicalJsonValue::as_str);
    if *kind == StateEventType::RoomMember
        && membership == Some("invite")
        && let Ok(invitee) = <&UserId>::try_from(state_key)
    {
        check_invitee(state, invitee)?;
    }
    // It would redact for those servers that look at the type alone, whatever the sender may redact.
    if kind.to_string() == "m.room.redaction" {
        return Err(Error::invalid_param(
            "`m.room.redaction` cannot be set as state. Redact the event instead.",
        ));
    }
    Ok(())
}
