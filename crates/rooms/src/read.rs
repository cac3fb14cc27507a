//! Reading a room: what a given user may see of its state, its members and its events.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{EventId, UserId, events::StateEventType};
use serde_json::value::RawValue;
use stoa_base::{Allowance, EventNid, StateNid};

use crate::{
    Recipient, Result, RoomError, Rooms,
    events::Event,
    pages::{Caching, Pages},
    room::Room,
    state::{ENTRY_BYTES, Part, StateKey},
    visibility::{ShownEvent, visible},
    visible_state::VisibleState,
};

impl Rooms {
    /// One entry of the state that `reader` may see.
    pub async fn state_entry(
        &self,
        reader: &UserId,
        room: &Room,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Arc<Event>> {
        let state = self.visible_state(reader, room).await?;
        let event = self.entry_at(state, kind, state_key).await?;
        let shown = self.without_erased(reader, &event).await?;
        shown.into_iter().next().ok_or(RoomError::NotFound("state"))
    }

    /// One entry of a state that the reader may see.
    pub async fn entry_at(
        &self,
        state: VisibleState,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Arc<Event>>> {
        self.unchecked_entry_at(state.nid(), kind, state_key).await
    }

    /// One entry of a state, without a look at who may see it.
    pub async fn unchecked_entry_at(
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

    /// About how many events a part of these states has, all of them together, found out at little
    /// cost.
    pub async fn about_how_many(
        &self,
        states: impl IntoIterator<Item = VisibleState>,
        part: Part,
    ) -> Result<u64> {
        let states: Vec<StateNid> = states.into_iter().map(VisibleState::nid).collect();
        Ok(self.states.about_how_many(states, part).await?)
    }

    /// The member events of these users in a state that the reader may see, by user ID, as long as they
    /// do not take more than is allowed.
    pub async fn members_at(
        &self,
        state: VisibleState,
        users: impl IntoIterator<Item = &UserId>,
        allowance: &Allowance,
    ) -> Result<Vec<Arc<Event>>> {
        let mut keys: Vec<_> =
            users.into_iter().map(|user| (state.nid(), StateKey::member(user))).collect();
        keys.sort_unstable();
        keys.dedup();
        let nids = self.states.get_many(&keys).await?;
        let nids: Vec<EventNid> = nids.into_values().collect();
        let events = self.events_within(&nids, Caching::Fill, allowance).await?;
        let mut events: Vec<_> = events.into_values().collect();
        events.sort_unstable_by(|one, other| one.pdu.state_key.cmp(&other.pdu.state_key));
        Ok(events)
    }

    /// For each of these states, the internal numbers of the events of a part of it, as long as they do
    /// not take more than is allowed.
    pub async fn entries_of(
        &self,
        states: impl IntoIterator<Item = VisibleState>,
        part: Part,
        allowance: &Allowance,
    ) -> Result<HashMap<VisibleState, BTreeMap<StateKey, EventNid>>> {
        let states: Vec<StateNid> = states.into_iter().map(VisibleState::nid).collect();
        let entries = self.states.entries_of(&states, part, allowance).await?;
        Ok(entries
            .into_iter()
            .map(|(state, entries)| (VisibleState::unchecked(state), entries))
            .collect())
    }

    /// For each of these states, the internal numbers of the events of these entries, as long as they
    /// do not take more than is allowed.
    pub async fn entries_at(
        &self,
        wanted: impl IntoIterator<Item = (VisibleState, StateKey)>,
        allowance: &Allowance,
    ) -> Result<HashMap<(VisibleState, StateKey), EventNid>> {
        let wanted: Vec<_> = wanted.into_iter().map(|(state, key)| (state.nid(), key)).collect();
        allowance.take(ENTRY_BYTES * wanted.len() as u64)?;
        let entries = self.states.get_many(&wanted).await?;
        Ok(entries
            .into_iter()
            .map(|((state, key), event)| ((VisibleState::unchecked(state), key), event))
            .collect())
    }

    /// The events of a part of a state that the reader may see, in the room's order.
    pub async fn state_events(&self, state: VisibleState, part: Part) -> Result<Vec<Arc<Event>>> {
        let entries = self.states.entries(state.nid(), part, &Allowance::unlimited()).await?;
        let nids: Vec<EventNid> = entries.into_values().collect();
        let mut events = self.events.read_many(&nids).await?;
        events.sort_unstable_by_key(|event| (event.order, event.nid));
        Ok(events)
    }

    /// Writes the events of a part of a state that the recipient may see, those that are `wanted`, in
    /// the room's order, as long as that does not take more than is allowed. There is one page of the
    /// events in memory at a time.
    pub async fn write_state(
        &self,
        recipient: Recipient<'_>,
        state: VisibleState,
        part: Part,
        wanted: impl Fn(&Event) -> bool,
        allowance: &Allowance,
    ) -> Result<Vec<Box<RawValue>>> {
        let entries = self.states.entries(state.nid(), part, allowance).await?;
        let nids: Vec<EventNid> = entries.into_values().collect();
        let mut written = Vec::with_capacity(nids.len());
        let mut pages = Pages::new(&nids);
        while let Some(page) = pages.next() {
            let mut events = self.events.read_many(page).await?;
            let bytes = pages.learn(&events);
            allowance.take(bytes)?;
            events.retain(|event| wanted(event));
            let texts = self.state_to_client(recipient, &events, allowance).await?;
            // Each is once more in the answer.
            allowance.take(texts.iter().map(|text| text.get().len() as u64).sum())?;
            allowance.give_back(bytes);
            let places = events.iter().map(|event| (event.order, event.nid));
            written.extend(places.zip(texts));
        }
        written.sort_unstable_by_key(|(place, _)| *place);
        Ok(written.into_iter().map(|(_, text)| text).collect())
    }

    /// An event of the room, with the reader's membership at it. One that the reader may not see is
    /// not found, as if it were not there.
    pub async fn event(
        &self,
        reader: &UserId,
        room: &Room,
        event_id: &EventId,
    ) -> Result<ShownEvent> {
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

    /// The events of a page that `reader` may see, each with the reader's membership at it.
    pub async fn visible(
        &self,
        reader: &UserId,
        room: &Room,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<ShownEvent>> {
        let seen = self.see(reader, room, &events).await?;
        Ok(visible(events, seen).collect())
    }
}
