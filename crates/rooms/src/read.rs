//! Reading a room: what a given user may see of its state, its members and its events.

use std::sync::Arc;

use ruma::{EventId, UserId, events::StateEventType};
use stoa_base::StateNid;

use crate::{
    Result, RoomError, Rooms,
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
        let refusal = || RoomError::forbidden("You are not in this room");
        match self.membership(reader, room).await? {
            Some(membership) if membership.membership == "join" => Ok(current),
            _ if self.is_world_readable(current).await? => Ok(current),
            Some(membership)
                if matches!(membership.membership.as_str(), "leave" | "ban")
                    && self.was_joined(reader, room).await? =>
            {
                let left = self.events.get(membership.event).await?;
                left.state_after.ok_or_else(refusal)
            }
            _ => Err(refusal()),
        }
    }

    /// Whether the user is or ever was in the room.
    pub async fn was_joined(&self, user_id: &UserId, room: &Room) -> Result<bool> {
        Ok(self.last_joined(user_id, room).await?.is_some())
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
