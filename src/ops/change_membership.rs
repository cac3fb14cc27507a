//! Changing a membership.

use ruma::{OwnedEventId, RoomId, UserId};
use stoa_accounts::{Profiles, Session};
use stoa_base::Actor;
use stoa_http::{Error, Result};
use stoa_rooms::{MemberProfile, MembershipChange, Rooms};

use crate::ops::find_room::known_room;

/// Changes a membership of a room that this server knows.
pub(crate) async fn change_membership(
    rooms: &Rooms,
    profiles: &Profiles,
    actor: &Actor,
    session: &Session,
    room_id: &RoomId,
    change: MembershipChange,
    reason: Option<String>,
) -> Result<OwnedEventId> {
    let room = known_room(rooms, room_id).await?;
    let profile = match &change {
        MembershipChange::Join(_) | MembershipChange::Knock => {
            profiles.member_profile(&actor.user_id).await?
        }
        MembershipChange::Invite(invitee) => {
            check_invitee(rooms, invitee)?;
            profiles.member_profile(invitee).await?
        }
        MembershipChange::Leave
        | MembershipChange::Kick(_)
        | MembershipChange::Ban(_)
        | MembershipChange::Unban(_) => MemberProfile::default(),
    };
    let session = Some(&*session.id);
    Ok(rooms.membership_changes.change(actor, session, &room, change, &profile, reason).await?)
}

/// Refuses to invite users of other servers, who would never learn of the invite.
pub(crate) fn check_invitee(rooms: &Rooms, invitee: &UserId) -> Result<()> {
    if rooms.is_local(invitee) {
        Ok(())
    } else {
        Err(Error::forbidden("Users of other servers cannot be invited."))
    }
}
