//! Joins to restricted rooms, which let in the members of other rooms.

use std::sync::Arc;

use ruma::{
    CanonicalJsonValue, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    state_res::events::RoomPowerLevelsIntField,
};
use stoa_base::StateNid;
use stoa_storage::{Store, repo};

use crate::{
    cache::{known_rooms::KnownRooms, room::Room},
    error::{Result, RoomError},
    graph::{state::StateKey, state_events::StateEvents},
    write::{content::put, stage::NewEvent},
};

/// The key in a join's content that names the user of this server who authorizes it.
pub(crate) const AUTHORISED_VIA: &str = "join_authorised_via_users_server";

/// How many members are read at once when looking for such a user.
const PAGE: i64 = 100;

/// Determines who authorizes a join.
#[derive(Clone, Debug)]
pub(crate) struct RestrictedJoins {
    pub(crate) server_name: OwnedServerName,
    pub(crate) store: Store,
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) state_events: StateEvents,
}

impl RestrictedJoins {
    /// Sets the authorizing user in a member event, which this server vouches for, and removes what
    /// the client says about it. Otherwise users could let themselves in by naming a member of the
    /// room.
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
            let current = self.state_events.entry(state, key).await?;
            let current = current.and_then(|event| event.membership());
            if !matches!(current, Some(MembershipState::Join | MembershipState::Invite)) {
                let by = self.restricted_join(room, state, &new.sender).await?;
                put(&mut new.content, AUTHORISED_VIA, by.as_deref().map(UserId::as_str));
            }
        }
        Ok(new)
    }

    /// If a room lets in the members of other rooms and `user_id` is one of them: a local user of
    /// the room who can invite, and who authorizes the join. None if the room is not restricted.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms>
    async fn restricted_join(
        &self,
        room: &Room,
        state: StateNid,
        user_id: &UserId,
    ) -> Result<Option<OwnedUserId>> {
        let key = StateKey::typed(&StateEventType::RoomJoinRules, "");
        let Some(rules) = self.state_events.entry(state, key).await? else { return Ok(None) };
        let rules: JoinRules = serde_json::from_str(rules.pdu.content.get()).unwrap_or_default();
        if !room.rules.authorization.restricted_join_rule
            || !matches!(rules.join_rule.as_str(), "restricted" | "knock_restricted")
        {
            return Ok(None);
        }
        let mut is_allowed = false;
        for allow in rules.allow.iter().filter(|allow| allow.kind == "m.room_membership") {
            let other = allow.room_id.as_deref().and_then(|id| RoomId::parse(id).ok());
            let Some(other) = other else { continue };
            if let Some(nid) = self.known.nid(&other).await? {
                let mut conn = self.store.read().await?;
                let row =
                    repo::memberships::of_user_in_room(&mut conn, user_id.as_str(), nid).await?;
                is_allowed |=
                    row.is_some_and(|row| row.membership == MembershipState::Join.as_str());
            }
        }
        if !is_allowed {
            return Err(RoomError::forbidden(
                "You are in none of the rooms whose members can join this room",
            ));
        }
        let by = self.local_inviter(room, state).await?;
        by.map(Some)
            .ok_or_else(|| RoomError::forbidden("Nobody on this server can let you into the room"))
    }

    /// A joined user of this server who can invite: one with a power level of their own, or else
    /// any user, if everybody can invite.
    async fn local_inviter(&self, room: &Room, state: StateNid) -> Result<Option<OwnedUserId>> {
        let power = self.state_events.power(&room.rules, state).await?;
        let needed = power.needed(RoomPowerLevelsIntField::Invite)?;
        let mut named = Vec::new();
        for user_id in power.named()? {
            if self.is_local(&user_id) && power.of(&user_id)? >= needed {
                named.push(user_id);
            }
        }
        let wanted: Vec<_> =
            named.iter().map(|user_id| (state, StateKey::member(user_id))).collect();
        let found = self.state_events.states.get_many(&wanted).await?;
        let members = self.state_events.events.get_many(found.values().copied()).await?;
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
        // Only users whose own level is lower than everybody's are skipped.
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

    fn is_local(&self, user_id: &UserId) -> bool {
        *user_id.server_name() == self.server_name
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
