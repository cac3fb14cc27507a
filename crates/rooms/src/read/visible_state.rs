//! Who may see a state: the room's present state, or the state at an event.
//!
//! A reader who is shown an event may not necessarily see the state at it. Users are told of a ban,
//! or of the invite that they declined, but learn nothing else about a room that they were never
//! in. Every function that gives state to a reader therefore takes a [`VisibleState`], and only
//! this file makes one.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{collections::HashMap, sync::Arc};

use ruma::UserId;
use stoa_base::{Allowance, Pos, StateNid};
use stoa_storage::repo::events::Order;

use crate::{
    cache::{
        known_rooms::KnownRooms,
        memberships::{Membership, MembershipCache},
        room::Room,
    },
    error::{Result, RoomError},
    graph::{event::Event, events::Events, state::EMPTY},
    read::{
        stays::Stays,
        timeline::Timelines,
        visibility::{Moment, Visibility},
    },
};

/// A state of a room that the reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisibleState(StateNid);

impl VisibleState {
    /// The empty state, which anybody may see.
    pub const NOTHING: Self = Self(EMPTY);

    /// A state that the caller knows the reader may see. Callers explain how they know.
    pub const fn unchecked(state: StateNid) -> Self {
        Self(state)
    }

    pub(crate) const fn nid(self) -> StateNid {
        self.0
    }
}

/// Finds the states that users may see.
#[derive(Clone, Debug)]
pub struct VisibleStates {
    pub(crate) events: Events,
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) memberships: Arc<MembershipCache>,
    pub(crate) timelines: Timelines,
    pub(crate) stays: Stays,
    pub(crate) visibility: Visibility,
}

impl VisibleStates {
    /// The state that `reader` may see as the room's present state: the current state if they are a
    /// member or the room is world-readable; if they have left, the state at that time. Fails with
    /// [`RoomError::Forbidden`] if they were never in the room.
    pub async fn now(&self, reader: &UserId, room: &Room) -> Result<VisibleState> {
        let current = self.known.committed(room).await?.state;
        let membership = self.memberships.in_room(reader, room).await?;
        let is_joined = membership.as_ref().is_some_and(Membership::is_joined);
        if is_joined || self.visibility.is_world_readable(current).await? {
            return Ok(VisibleState(current));
        }
        let stays = match membership {
            Some(row) if !row.forgotten => self.stays.of_user(reader, room).await?,
            _ => Vec::new(),
        };
        let left = stays.last().and_then(|stay| stay.end.as_ref()).and_then(|end| end.state);
        left.map(VisibleState).ok_or_else(|| RoomError::forbidden("You are not in this room"))
    }

    /// The state right after `event`, if `reader` may see it. Otherwise, if they were in the room
    /// before, the state when they last left before the event; or, if they came only later, the
    /// state when they joined. None if they were never in the room or have forgotten it.
    pub async fn after(
        &self,
        reader: &UserId,
        room: &Room,
        event: &Arc<Event>,
    ) -> Result<Option<VisibleState>> {
        let membership = self.memberships.in_room(reader, room).await?;
        if membership.is_some_and(|row| row.forgotten)
            && !self.visibility.is_world_readable(self.known.committed(room).await?.state).await?
        {
            return Ok(None);
        }
        let last_joined = HashMap::from([(room.nid, self.stays.last_joined(reader, room).await?)]);
        let moments =
            self.visibility.moments(reader, &last_joined, std::slice::from_ref(event)).await?;
        if moments.first().is_some_and(Moment::shows_state) {
            return Ok(event.state_after.map(VisibleState));
        }
        let pos = event.order.map_or(Pos(i64::MAX), |order| Pos(order.pos));
        self.state_of_nearest_stay(reader, room, pos).await
    }

    /// The state that `reader` may see at a point in the room's order. This is what
    /// [`after`](Self::after) gives for the event before that point; if that is none, it is what
    /// they may see as the room's present state.
    pub async fn at(&self, reader: &UserId, room: &Room, at: Order) -> Result<VisibleState> {
        // This fails for readers who may see nothing at all.
        let present = self.now(reader, room).await?;
        let any = Allowance::unlimited();
        let latest = self.timelines.unchecked_before(room, at, Order::START, 1, &any).await?.events;
        let known = match latest.first() {
            Some(event) => self.after(reader, room, event).await?,
            None => self.state_of_nearest_stay(reader, room, Pos(at.pos)).await?,
        };
        Ok(known.unwrap_or(present))
    }

    /// The state right after `event`, if that is the departure of `reader` from the room: a leave,
    /// a kick or a ban while they were joined.
    pub async fn of_departure(
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

    /// The state at the end of the reader's last stay that ended by `pos`, or else at the beginning
    /// of their next stay.
    async fn state_of_nearest_stay(
        &self,
        reader: &UserId,
        room: &Room,
        pos: Pos,
    ) -> Result<Option<VisibleState>> {
        let stays = self.stays.of_user(reader, room).await?;
        let mut left = stays.iter().rev().filter_map(|stay| stay.end.as_ref());
        let left = left.find(|end| end.pos <= pos);
        let came = || stays.iter().map(|stay| &stay.begin).find(|begin| begin.pos > pos);
        Ok(left.or_else(came).and_then(|edge| edge.state).map(VisibleState))
    }
}
