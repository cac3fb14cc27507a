//! Reading a room: what a given user may see of its state, its members and its events.

use std::sync::Arc;

use ruma::{EventId, UserId, events::StateEventType};
use stoa_base::StateNid;
use stoa_storage::repo::events::Order;

use crate::{
    Membership, Result, RoomError, Rooms,
    events::Event,
    room::Room,
    state::{Part, StateKey},
    visibility::visible,
};

impl Rooms {
    /// The state that `reader` may see as the room's present: the current state for a member, and
    /// for anybody where the room is world-readable; for one who has left, the state at that time.
    pub async fn visible_state(&self, reader: &UserId, room: &Room) -> Result<StateNid> {
        let current = self.committed(room).await?.state;
        let membership = self.membership(reader, room).await?;
        let is_joined = membership.as_ref().is_some_and(Membership::is_joined);
        if is_joined || self.is_world_readable(current).await? {
            return Ok(current);
        }
        let stays = match membership {
            Some(row) if !row.forgotten => self.stays(reader, room).await?,
            _ => Vec::new(),
        };
        let left = stays.last().and_then(|stay| stay.end.as_ref()).and_then(|end| end.state);
        left.ok_or_else(|| RoomError::forbidden("You are not in this room"))
    }

    /// The state that `reader` may see of a point in the room's order.
    ///
    /// Where the point is one at which he was not in the room, it is the state at the time when he
    /// left before it; or, where he came only later, the state that he found then.
    pub async fn visible_state_at(
        &self,
        reader: &UserId,
        room: &Room,
        at: Order,
    ) -> Result<StateNid> {
        // Who may see nothing at all is refused here.
        let present = self.visible_state(reader, room).await?;
        let latest = self.before(room, at, Order::START, 1).await?.events;
        if let Some(event) = latest.first()
            && self.may_see(reader, room, event).await?
        {
            return Ok(event.state_after.unwrap_or(present));
        }
        let stays = self.stays(reader, room).await?;
        let left_before = stays.iter().rev().filter_map(|stay| stay.end.as_ref());
        let left_before = left_before.filter(|end| end.pos.0 <= at.pos).map(|end| end.state).next();
        let came_after = || stays.iter().map(|stay| &stay.begin).find(|begin| begin.pos.0 > at.pos);
        let edge = left_before.or_else(|| came_after().map(|begin| begin.state));
        Ok(edge.flatten().unwrap_or(present))
    }

    /// One entry of the state that `reader` may see.
    pub async fn state_entry(
        &self,
        reader: &UserId,
        room: &Room,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Arc<Event>> {
        let state = self.visible_state(reader, room).await?;
        self.entry_at(state, kind, state_key).await?.ok_or(RoomError::NotFound("state"))
    }

    /// One entry of a state, without a look at who may see it.
    pub async fn entry_at(
        &self,
        state: StateNid,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Arc<Event>>> {
        match self.states.get(state, StateKey::typed(kind, state_key)).await? {
            Some(nid) => Ok(Some(self.events.get(nid).await?)),
            None => Ok(None),
        }
    }

    /// The events of a part of a state, by internal number, without a look at who may see them.
    pub async fn state_events(&self, state: StateNid, part: Part) -> Result<Vec<Arc<Event>>> {
        let entries = self.states.entries(state, part).await?;
        let events = self.events.get_many(entries.into_values()).await?;
        let mut events: Vec<_> = events.into_values().collect();
        events.sort_unstable_by_key(|event| (event.order, event.nid));
        Ok(events)
    }

    /// An event of the room, with the reader's membership at it. One that he may not see is not
    /// found, as if it were not there.
    pub async fn event(
        &self,
        reader: &UserId,
        room: &Room,
        event_id: &EventId,
    ) -> Result<(Arc<Event>, String)> {
        let not_found = || RoomError::NotFound("event");
        let event = self.events.by_id(event_id).await?.ok_or_else(not_found)?;
        let is_shown = event.room == room.nid
            && event.order.is_some()
            && event.status == stoa_storage::log::EventStatus::Accepted;
        if !is_shown {
            return Err(not_found());
        }
        let membership = self.membership(reader, room).await?;
        if membership.is_some_and(|row| row.forgotten)
            && !self.is_world_readable(self.committed(room).await?.state).await?
        {
            return Err(not_found());
        }
        let seen = self.see(reader, room, std::slice::from_ref(&event)).await?;
        visible(vec![event], seen).next().ok_or_else(not_found)
    }

    /// The events of a page that `reader` may see, each with his membership at it.
    pub async fn visible(
        &self,
        reader: &UserId,
        room: &Room,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<(Arc<Event>, String)>> {
        let seen = self.see(reader, room, &events).await?;
        Ok(visible(events, seen).collect())
    }
}
