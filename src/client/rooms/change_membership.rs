//! What the operations that change a membership have in common.

use ruma::{OwnedEventId, RoomId};
use stoa_accounts::Session;
use stoa_base::Actor;
use stoa_http::{Error, Result};
use stoa_rooms::{MemberProfile, MembershipChange};

use super::known_room;
use crate::app::AppState;

/// Changes a membership of a room that this server knows.
pub(super) async fn change_membership(
    state: &AppState,
    actor: &Actor,
    session: &Session,
    room_id: &RoomId,
    change: MembershipChange,
    reason: Option<String>,
) -> Result<OwnedEventId> {
    let room = known_room(&state.rooms, room_id).await?;
    let profile = match &change {
        MembershipChange::Join(_) | MembershipChange::Knock => {
            member_profile(state, &actor.user_id).await?
        }
        MembershipChange::Invite(invitee) => {
            check_invitee(state, invitee)?;
            member_profile(state, invitee).await?
        }
        MembershipChange::Leave
        | MembershipChange::Kick(_)
        | MembershipChange::Ban(_)
        | MembershipChange::Unban(_) => MemberProfile::default(),
    };
    let session = Some(&*session.id);
    let rooms = &state.rooms;
    Ok(rooms.change_membership(actor, session, &room, change, &profile, reason).await?)
}

/// What others see of a user of this server.
pub(super) async fn member_profile(
    state: &AppState,
    user_id: &ruma::UserId,
) -> Result<MemberProfile> {
    let profile = state.accounts.member_profile(user_id).await?;
    Ok(MemberProfile { displayname: profile.displayname, avatar_url: profile.avatar_url })
}

/// An invite that nobody is told of would be waited on for ever.
pub(super) fn check_invitee(state: &AppState, invitee: &ruma::UserId) -> Result<()> {
    if state.rooms.is_local(invitee) {
        Ok(())
    } else {
        Err(Error::forbidden("Users of other servers cannot be invited from this one."))
    }
}
