//! Who may see a state: the room's present, or the state at an event.
//!
//! Being shown an event does not mean being shown the state at it. A user is told of a ban and of
//! the invite that they declined, and learns nothing else of a room that they were never in. So
//! whatever gives state to a reader takes a [`VisibleState`], and only this file makes one.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{collections::HashMap, sync::Arc};

use ruma::{UserId, events::room::member::MembershipState};
use stoa_base::{Allowance, Pos, StateNid};
use stoa_storage::repo::events::Order;

use crate::{
    Result, RoomError, Rooms, events::Event, room::Room, state::EMPTY, visibility::Moment,
};

/// A state of a room that the reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisibleState(StateNid);

impl VisibleState {
    /// Nothing, which anybody may see.
    pub const NOTHING: Self = Self(EMPTY);

    /// A state that the caller has found out the reader may see. They say how.
    pub const fn unchecked(state: StateNid) -> Self {
        Self(state)
    }

    /// The state.
    pub(crate) const fn nid(self) -> StateNid {
        self.0
    }
}

impl Rooms {
    /// The state that `reader` may see as the room's present: the current state for a member, and
    /// for anybody where the room is world-readable; for one who has left, the state at that time.
    pub async fn visible_state(&self, reader: &UserId, room: &Room) -> Result<VisibleState> {
        let current = self.committed(room).await?.state;
        let membership = self.membership(reader, room).await?;
        let is_joined = membership.as_ref().is_some_and(crate::Membership::is_joined);
        if is_joined || self.is_world_readable(current).await? {
            return Ok(VisibleState(current));
        }
        let stays = match membership {
            Some(row) if !row.forgotten => self.stays(reader, room).await?,
            _ => Vec::new(),
        };
        let left = stays.last().and_then(|stay| stay.end.as_ref()).and_then(|end| end.state);
        left.map(VisibleState).ok_or_else(|| RoomError::forbidden("You are not in this room"))
    }

    /// The state right after `event`, where `reader` may see it. Otherwise the state at the time when
    /// they had left, where they were in the room before; or, where they came only later, the state
    /// that they found then. None where they were never in the room.
    pub async fn visible_state_after(
        &self,
        reader: &UserId,
        room: &Room,
        event: &Arc<Event>,
    ) -> Result<Option<VisibleState>> {
        let membership = self.membership(reader, room).await?;
        if membership.is_some_and(|row| row.forgotten)
            && !self.is_world_readable(self.committed(room).await?.state).await?
        {
            return Ok(None);
        }
        let last_joined = HashMap::from([(room.nid, self.last_joined(reader, room).await?)]);
        let moments = self.moments(reader, &last_joined, std::slice::from_ref(event)).await?;
        if moments.first().is_some_and(Moment::shows_state) {
            return Ok(event.state_after.map(VisibleState));
        }
        let pos = event.order.map_or(Pos(i64::MAX), |order| Pos(order.pos));
        self.state_of_nearest_stay(reader, room, pos).await
    }

    /// The state that `reader` may see of a point in the room's order, as [`visible_state_after`]
    /// says of the event before it; where that is none, what they may see as the room's present.
    ///
    /// [`visible_state_after`]: Self::visible_state_after
    pub async fn visible_state_at(
        &self,
        reader: &UserId,
        room: &Room,
        at: Order,
    ) -> Result<VisibleState> {
        // Who may see nothing at all is refused here.
        let present = self.visible_state(reader, room).await?;
        let any = Allowance::unlimited();
        let latest = self.before(room, at, Order::START, 1, &any).await?.events;
        let known = match latest.first() {
            Some(event) => self.visible_state_after(reader, room, event).await?,
            None => self.state_of_nearest_stay(reader, room, Pos(at.pos)).await?,
        };
        Ok(known.unwrap_or(present))
    }

    /// The state right after `event`, where that is how `reader` left the room: a leave, a kick or a
    /// ban of one who was joined.
    pub async fn state_of_departure(
        &self,
        reader: &UserId,
        event: &Event,
    ) -> Result<Option<VisibleState>> {
        let Some(replaced) = event.replaces.filter(|_| event.is_member_event_of(reader)) else {
            return Ok(None);
        };
        let replaced = self.events.get(replaced).await?;
        let is_departure = event.is_departure_after(&replaced);
        Ok(event.state_after.filter(|_| is_departure).map(VisibleState))
    }

    /// The state with which the reader's stay ended that ended last by `pos`, or else with which the
    /// next one began.
    async fn state_of_nearest_stay(
        &self,
        reader: &UserId,
        room: &Room,
        pos: Pos,
    ) -> Result<Option<VisibleState>> {
        let stays = self.stays(reader, room).await?;
        let mut left = stays.iter().rev().filter_map(|stay| stay.end.as_ref());
        let left = left.find(|end| end.pos <= pos);
        let came = || stays.iter().map(|stay| &stay.begin).find(|begin| begin.pos > pos);
        Ok(left.or_else(came).and_then(|edge| edge.state).map(VisibleState))
    }
}

impl Event {
    /// Whether it is a member event of this user.
    pub(crate) fn is_member_event_of(&self, user_id: &UserId) -> bool {
        self.pdu.event_type == ruma::events::TimelineEventType::RoomMember
            && self.pdu.state_key.as_deref() == Some(user_id.as_str())
    }

    /// Whether it is how its user left, where `replaced` is the member event before it.
    pub(crate) fn is_departure_after(&self, replaced: &Self) -> bool {
        replaced.membership() == Some(MembershipState::Join)
            && self.membership() != Some(MembershipState::Join)
    }
}
