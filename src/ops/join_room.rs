//! Joining a room.

use ruma::{CanonicalJsonObject, RoomId};
use stoa_accounts::{Profiles, Session};
use stoa_base::Actor;
use stoa_http::Result;
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::{change_membership::change_membership, reason::take_reason};

/// Joins a room that this server knows. Additional content from the client goes into the member
/// event.
pub(crate) async fn join_room(
    rooms: &Rooms,
    profiles: &Profiles,
    actor: &Actor,
    session: &Session,
    room_id: &RoomId,
    mut content: CanonicalJsonObject,
) -> Result<()> {
    let reason = take_reason(&mut content)?;
    // The proof of a third-party invite, which does not belong in the event in this form.
    content.remove("third_party_signed");
    let change = MembershipChange::Join(content);
    change_membership(rooms, profiles, actor, session, room_id, change, reason).await?;
    Ok(())
}
