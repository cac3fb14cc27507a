//! Joining, inviting, leaving, kicking, banning and unbanning.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
};
use stoa_base::{Actor, MemberProfile};
use stoa_storage::log::{ForgottenRoomRow, Stream};

use crate::{
    cache::room::Room,
    error::{Result, RoomError},
    graph::{event::Event, state::StateKey, state_events::StateEvents},
    write::{
        audit::MembershipAudit,
        change::{Built, Changes},
        content::put,
        join_limit::JoinLimit,
        restricted_join::{AUTHORISED_VIA, RestrictedJoins},
        stage::{NewEvent, Staging},
    },
};

/// A change of a user's membership.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// The actor joins. The other fields of the request's body go into the content.
    Join(CanonicalJsonObject),
    /// The actor leaves, rejects an invite, or retracts a knock.
    Leave,
    /// The actor knocks.
    Knock,
    /// The actor invites a user.
    Invite(OwnedUserId),
    /// The actor removes a user.
    Kick(OwnedUserId),
    /// The actor bans a user.
    Ban(OwnedUserId),
    /// The actor lifts the ban of a user.
    Unban(OwnedUserId),
}

impl MembershipChange {
    fn target<'a>(&'a self, actor: &'a Actor) -> &'a UserId {
        match self {
            Self::Join(_) | Self::Leave | Self::Knock => &actor.user_id,
            Self::Invite(user_id)
            | Self::Kick(user_id)
            | Self::Ban(user_id)
            | Self::Unban(user_id) => user_id,
        }
    }

    const fn membership(&self) -> MembershipState {
        match self {
            Self::Join(_) => MembershipState::Join,
            Self::Leave | Self::Kick(_) | Self::Unban(_) => MembershipState::Leave,
            Self::Knock => MembershipState::Knock,
            Self::Invite(_) => MembershipState::Invite,
            Self::Ban(_) => MembershipState::Ban,
        }
    }

    /// Refuses changes that the authorization rules would allow but that make no sense to a user.
    /// Returns whether there is nothing to do.
    fn check(&self, current: Option<&MembershipState>) -> Result<bool> {
        use MembershipState::{Ban, Join, Leave};
        let refuse = |why: &str| Err(RoomError::forbidden(why));
        match (self, current) {
            (Self::Join(content), Some(Join)) => Ok(content.is_empty()),
            (Self::Leave, Some(Leave)) => Ok(true),
            (Self::Leave, None) => refuse("You are not in this room"),
            (Self::Leave, Some(Ban)) => refuse("You are banned from this room"),
            (Self::Invite(_), Some(Join)) => refuse("The user is already in the room"),
            (Self::Kick(_), None | Some(Leave)) => refuse("The user is not in the room"),
            (Self::Invite(_) | Self::Kick(_), Some(Ban)) => {
                refuse("The user is banned from the room")
            }
            (Self::Unban(_), current) if current != Some(&Ban) => {
                refuse("The user is not banned from the room")
            }
            _ => Ok(false),
        }
    }
}

/// Changes the memberships of users.
#[derive(Clone, Debug)]
pub struct MembershipChanges {
    pub(crate) changes: Changes,
    pub(crate) staging: Staging,
    pub(crate) state_events: StateEvents,
    pub(crate) restricted_joins: RestrictedJoins,
    pub(crate) join_limit: JoinLimit,
    pub(crate) audit: MembershipAudit,
}

impl MembershipChanges {
    /// Changes a membership. Returns the ID of the member event once it is flushed. `profile` is
    /// the profile of the user whose membership changes, if this server has it.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#room-membership>
    #[tracing::instrument(name = "change_membership", level = "debug", skip_all, fields(room = %room.id))]
    pub async fn change(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
        change: MembershipChange,
        profile: &MemberProfile,
        reason: Option<String>,
    ) -> Result<OwnedEventId> {
        if let MembershipChange::Join(_) = change {
            self.join_limit.check(&actor.user_id, Some(room)).await?;
        }
        let target = change.target(actor).to_owned();
        let key = StateKey::member(&target);
        let (change, target, reason) = (&change, &target, reason.as_deref());
        self.changes
            .change(room, session, |mut draft| async move {
                let current = self.state_events.entry(draft.head.state, key).await?;
                let membership = current.as_ref().and_then(|event| event.membership());
                if change.check(membership.as_ref())?
                    && let Some(current) = &current
                {
                    return Ok(Built::Present(current.pdu.event_id.clone()));
                }
                let mut content = match change {
                    MembershipChange::Join(content) => content.clone(),
                    _ => CanonicalJsonObject::new(),
                };
                let membership = change.membership();
                put(&mut content, "membership", Some(membership.as_str()));
                if !matches!(membership, MembershipState::Leave | MembershipState::Ban) {
                    put(&mut content, "displayname", profile.displayname.as_deref());
                    put(&mut content, "avatar_url", profile.avatar_url.as_deref());
                }
                if reason.is_some() {
                    put(&mut content, "reason", reason);
                }
                let new = NewEvent::state(
                    TimelineEventType::RoomMember,
                    target.as_str(),
                    actor.user_id.clone(),
                    content,
                );
                let new = self.restricted_joins.with_authority(room, draft.head.state, new).await?;
                let event = self.staging.stage(room, &mut draft, new).await?;
                self.audit.note(actor, room, &event, &mut draft.append).await?;
                Ok(Built::New(draft, event.pdu.event_id.clone()))
            })
            .await
    }

    /// Writes a user's new profile into a room that they are in.
    #[tracing::instrument(name = "update_member_profile", level = "debug", skip_all, fields(room = %room.id))]
    pub async fn update_profile(
        &self,
        actor: &Actor,
        room: &Arc<Room>,
        profile: &MemberProfile,
    ) -> Result<()> {
        let key = StateKey::member(&actor.user_id);
        self.changes
            .change(room, None, |mut draft| async move {
                let Some(current) = self.state_events.entry(draft.head.state, key).await? else {
                    return Ok(Built::Present(()));
                };
                if current.membership() != Some(MembershipState::Join) {
                    return Ok(Built::Present(()));
                }
                let mut content = content_of(&current)?;
                let before = content.clone();
                put(&mut content, "displayname", profile.displayname.as_deref());
                put(&mut content, "avatar_url", profile.avatar_url.as_deref());
                if content == before {
                    return Ok(Built::Present(()));
                }
                // Both applied only to the join.
                content.remove("reason");
                content.remove(AUTHORISED_VIA);
                let new = NewEvent::state(
                    TimelineEventType::RoomMember,
                    actor.user_id.as_str(),
                    actor.user_id.clone(),
                    content,
                );
                self.staging.stage(room, &mut draft, new).await?;
                Ok(Built::New(draft, ()))
            })
            .await
    }

    /// Makes a user forget a room that they have left: they can no longer read anything in it, and
    /// no list contains it. This lasts until they join again.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>
    #[tracing::instrument(level = "debug", skip_all, fields(room = %room.id))]
    pub async fn forget(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
    ) -> Result<()> {
        let user_id = &actor.user_id;
        self.changes
            .change(room, session, |mut draft| async move {
                let member = self.state_events.unchecked_entry(
                    draft.head.state,
                    &StateEventType::RoomMember,
                    user_id.as_str(),
                );
                let membership = member.await?.and_then(|event| event.membership());
                match membership {
                    Some(MembershipState::Leave | MembershipState::Ban) => {}
                    Some(_) => return Err(RoomError::NotLeft),
                    None => return Err(RoomError::forbidden("You were never in this room")),
                }
                draft
                    .append
                    .forgotten_rooms
                    .push(ForgottenRoomRow { user_id: user_id.to_string(), room_nid: room.nid });
                draft.append.touched.add(Stream::Membership, &**user_id);
                Ok(Built::New(draft, ()))
            })
            .await
    }
}

fn content_of(event: &Event) -> Result<CanonicalJsonObject> {
    Ok(serde_json::from_str(event.pdu.content.get()).map_err(stoa_storage::Error::corrupt)?)
}
