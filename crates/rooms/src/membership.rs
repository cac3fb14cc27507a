//! Joining, inviting, leaving, kicking, banning and unbanning.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    state_res::events::RoomPowerLevelsIntField,
};
use stoa_base::{Actor, StateNid};
use stoa_storage::{
    log::{ForgottenRoomRow, Stream},
    repo,
};

use crate::{
    Membership, Result, RoomError, Rooms, change::Built, events::Event, room::Room,
    stage::NewEvent, state::StateKey,
};

/// The user of this server on whose authority a join to a restricted room is made.
const AUTHORISED_VIA: &str = "join_authorised_via_users_server";

/// How many members are read at once where one is looked for.
const PAGE: i64 = 100;

/// What others see of a user in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberProfile {
    /// The display name.
    pub displayname: Option<String>,
    /// The avatar.
    pub avatar_url: Option<String>,
}

/// A change of a user's membership.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// The actor joins. What else the request's body holds goes into the content.
    Join(CanonicalJsonObject),
    /// The actor leaves, rejects an invite, or takes a knock back.
    Leave,
    /// The actor asks to be let in.
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

    /// Refuses what the authorization rules would allow but makes no sense to a user, and says
    /// whether there is nothing to do.
    fn check(&self, current: Option<&MembershipState>) -> Result<bool> {
        use MembershipState::{Ban, Join, Leave};
        let refuse = |why: &str| Err(RoomError::forbidden(why));
        match (self, current) {
            (Self::Join(content), Some(Join)) => Ok(content.is_empty()),
            (Self::Leave, Some(Leave)) => Ok(true),
            (Self::Leave, None) => refuse("You are not in this room"),
            (Self::Leave, Some(Ban)) => refuse("You are banned from this room"),
            (Self::Invite(_), Some(Join)) => refuse("The user is in the room already"),
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

impl Rooms {
    /// Changes a membership, and gives the ID of the member event once it is flushed. `profile` is
    /// that of the user whose membership it is, where this server has it.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#room-membership>
    pub async fn change_membership(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
        change: MembershipChange,
        profile: &MemberProfile,
        reason: Option<String>,
    ) -> Result<OwnedEventId> {
        if let MembershipChange::Join(_) = change {
            self.check_joined(&actor.user_id, Some(room)).await?;
        }
        let target = change.target(actor).to_owned();
        let key = StateKey::member(&target);
        let (change, target, reason) = (&change, &target, reason.as_deref());
        self.change(room, session, |mut draft| async move {
            let current = match self.states.get(draft.head.state, key).await? {
                Some(nid) => Some(self.events.get(nid).await?),
                None => None,
            };
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
            let new = self.with_authority(room, draft.head.state, new).await?;
            let event = self.stage(room, &mut draft, new).await?;
            self.audit_membership(actor, room, &event, &mut draft.append).await?;
            Ok(Built::New(draft, event.pdu.event_id.clone()))
        })
        .await
    }

    /// Refuses a user who is in as many rooms as one may be, unless `room` is one of them.
    pub(crate) async fn check_joined(&self, user_id: &UserId, room: Option<&Room>) -> Result<()> {
        let limit = self.options.joined_rooms;
        let memberships = self.memberships(user_id).await?;
        let is_joined = |membership: &Membership| membership.is_joined();
        if room.and_then(|room| memberships.get(&room.nid)).is_some_and(is_joined) {
            return Ok(());
        }
        if memberships.values().filter(|membership| is_joined(membership)).count() < limit {
            return Ok(());
        }
        let why = format!("You are in {limit} rooms, and nobody may be in more here");
        Err(RoomError::forbidden(why))
    }

    /// Writes a user's new profile into a room that they are in.
    pub async fn update_member_profile(
        &self,
        actor: &Actor,
        room: &Arc<Room>,
        profile: &MemberProfile,
    ) -> Result<()> {
        let key = StateKey::member(&actor.user_id);
        self.change(room, None, |mut draft| async move {
            let Some(nid) = self.states.get(draft.head.state, key).await? else {
                return Ok(Built::Present(()));
            };
            let current = self.events.get(nid).await?;
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
            // Both were about the join.
            content.remove("reason");
            content.remove(AUTHORISED_VIA);
            let new = NewEvent::state(
                TimelineEventType::RoomMember,
                actor.user_id.as_str(),
                actor.user_id.clone(),
                content,
            );
            self.stage(room, &mut draft, new).await?;
            Ok(Built::New(draft, ()))
        })
        .await
    }

    /// Makes a user forget a room that they have left: they can no longer read anything of it, and no
    /// list shows it. Joining again ends this.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>
    pub async fn forget(
        &self,
        actor: &Actor,
        session: Option<&str>,
        room: &Arc<Room>,
    ) -> Result<()> {
        let user_id = &actor.user_id;
        self.change(room, session, |mut draft| async move {
            let member = self.unchecked_entry_at(
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

    /// A member event with what this server vouches for, instead of what the client says of it:
    /// otherwise whoever names a member of the room could let themselves in.
    pub(crate) async fn with_authority(
        &self,
        room: &Room,
        state: StateNid,
        mut new: NewEvent,
    ) -> Result<NewEvent> {
        if new.kind != TimelineEventType::RoomMember {
            return Ok(new);
        }
        new.content.remove(AUTHORISED_VIA);
        let is_join = new.content.get("membership").and_then(CanonicalJsonValue::as_str)
            == Some(MembershipState::Join.as_str())
            && new.state_key.as_deref() == Some(new.sender.as_str());
        if is_join {
            let key = StateKey::member(&new.sender);
            let current = match self.states.get(state, key).await? {
                Some(nid) => self.events.get(nid).await?.membership(),
                None => None,
            };
            if !matches!(current, Some(MembershipState::Join | MembershipState::Invite)) {
                let by = self.restricted_join(room, state, &new.sender).await?;
                put(&mut new.content, AUTHORISED_VIA, by.as_deref().map(UserId::as_str));
            }
        }
        Ok(new)
    }

    /// Where a room lets in the members of other rooms and `user_id` is one: a local user of the
    /// room who could invite, on whose authority the join is made.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms>
    async fn restricted_join(
        &self,
        room: &Room,
        state: StateNid,
        user_id: &UserId,
    ) -> Result<Option<OwnedUserId>> {
        let key = StateKey::typed(&StateEventType::RoomJoinRules, "");
        let Some(nid) = self.states.get(state, key).await? else { return Ok(None) };
        let rules: JoinRules =
            serde_json::from_str(self.events.get(nid).await?.pdu.content.get()).unwrap_or_default();
        if !room.rules.authorization.restricted_join_rule
            || !matches!(rules.join_rule.as_str(), "restricted" | "knock_restricted")
        {
            return Ok(None);
        }
        let mut is_allowed = false;
        for allow in rules.allow.iter().filter(|allow| allow.kind == "m.room_membership") {
            let other = allow.room_id.as_deref().and_then(|id| RoomId::parse(id).ok());
            let Some(other) = other else { continue };
            if let Some(nid) = self.rooms.nid(&other).await? {
                let mut conn = self.store.read().await?;
                let row =
                    repo::memberships::of_user_in_room(&mut conn, user_id.as_str(), nid).await?;
                is_allowed |=
                    row.is_some_and(|row| row.membership == MembershipState::Join.as_str());
            }
        }
        if !is_allowed {
            return Err(RoomError::forbidden(
                "You are in none of the rooms whose members may join this one",
            ));
        }
        let by = self.local_inviter(room, state).await?;
        by.map(Some)
            .ok_or_else(|| RoomError::forbidden("Nobody on this server can let you into the room"))
    }

    /// A joined user of this server who may invite: one who has a level of their own, or, where
    /// everybody may invite, any.
    async fn local_inviter(&self, room: &Room, state: StateNid) -> Result<Option<OwnedUserId>> {
        let power = self.power(room, state).await?;
        let needed = power.needed(RoomPowerLevelsIntField::Invite)?;
        let mut named = Vec::new();
        for user_id in power.named()? {
            if self.is_local(&user_id) && power.of(&user_id)? >= needed {
                named.push(user_id);
            }
        }
        let wanted: Vec<_> =
            named.iter().map(|user_id| (state, StateKey::member(user_id))).collect();
        let found = self.states.get_many(&wanted).await?;
        let members = self.events.get_many(found.values().copied()).await?;
        let is_joined = |user_id: &OwnedUserId| {
            let nid = found.get(&(state, StateKey::member(user_id)));
            let member = nid.and_then(|nid| members.get(nid));
            member.and_then(|member| member.membership()) == Some(MembershipState::Join)
        };
        if let Some(user_id) = named.into_iter().find(is_joined) {
            return Ok(Some(user_id));
        }
        if power.of_unnamed()? < needed {
            return Ok(None);
        }
        // Only those are passed over whose own level is lower than everybody's.
        let mut after = String::new();
        loop {
            let members = {
                let mut conn = self.store.read().await?;
                let of = &self.server_name;
                repo::memberships::joined_of_server(&mut conn, room.nid, of, &after, PAGE).await?
            };
            let Some(last) = members.last() else { return Ok(None) };
            after.clone_from(last);
            for member in members {
                let Ok(member) = OwnedUserId::try_from(member) else { continue };
                if self.is_local(&member) && power.of(&member)? >= needed {
                    return Ok(Some(member));
                }
            }
        }
    }
}

#[derive(Default, serde::Deserialize)]
struct JoinRules {
    #[serde(default)]
    join_rule: String,
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(serde::Deserialize)]
struct Allow {
    #[serde(rename = "type")]
    kind: String,
    room_id: Option<String>,
}

pub(crate) fn put(content: &mut CanonicalJsonObject, key: &str, value: Option<&str>) {
    match value {
        Some(value) => {
            content.insert(key.to_owned(), CanonicalJsonValue::String(value.to_owned()));
        }
        None => {
            content.remove(key);
        }
    }
}

fn content_of(event: &Event) -> Result<CanonicalJsonObject> {
    Ok(serde_json::from_str(event.pdu.content.get()).map_err(stoa_storage::Error::corrupt)?)
}
