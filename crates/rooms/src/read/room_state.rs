//! What a reader may see of rooms' states. The states themselves come from `visible_state.rs`,
//! which decides what the reader may see.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{UserId, events::StateEventType};
use stoa_base::{Allowance, EventNid, StateNid};

use crate::{
    cache::room::Room,
    error::{Result, RoomError},
    graph::{
        chunks::Caching,
        event::Event,
        state::{ENTRY_BYTES, Part, StateKey},
        state_events::StateEvents,
    },
    read::{
        erased::ErasedContent,
        visible_state::{VisibleState, VisibleStates},
    },
};

/// The states of rooms, for readers who may see them.
#[derive(Clone, Debug)]
pub struct RoomStates {
    pub(crate) state_events: StateEvents,
    pub(crate) visible: VisibleStates,
    pub(crate) erased: ErasedContent,
}

impl RoomStates {
    /// One entry of the room's present state as far as `reader` may see it. Fails with
    /// [`RoomError::NotFound`] if there is no such entry.
    pub async fn entry(
        &self,
        reader: &UserId,
        room: &Room,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Arc<Event>> {
        let state = self.visible.now(reader, room).await?;
        let event = self.entry_at(state, kind, state_key).await?;
        let shown = self.erased.without_erased(reader, &event).await?;
        shown.into_iter().next().ok_or(RoomError::NotFound("state"))
    }

    /// One entry of a state that the reader may see, or none if the state has no such entry.
    pub async fn entry_at(
        &self,
        state: VisibleState,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Arc<Event>>> {
        self.state_events.unchecked_entry(state.nid(), kind, state_key).await
    }

    /// An estimate of how many events a part of these states has in total. It costs little.
    pub async fn about_how_many(
        &self,
        states: impl IntoIterator<Item = VisibleState>,
        part: Part,
    ) -> Result<u64> {
        let states: Vec<StateNid> = states.into_iter().map(VisibleState::nid).collect();
        Ok(self.state_events.states.about_how_many(states, part).await?)
    }

    /// The member events of these users in a state that the reader may see, by user ID. Fails if
    /// they take more memory than is allowed.
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
        let nids = self.state_events.states.get_many(&keys).await?;
        let nids: Vec<EventNid> = nids.into_values().collect();
        let events = self.state_events.events.within(&nids, Caching::Fill, allowance).await?;
        let mut events: Vec<_> = events.into_values().collect();
        events.sort_unstable_by(|one, other| one.pdu.state_key.cmp(&other.pdu.state_key));
        Ok(events)
    }

    /// The internal numbers of the events in a part of each of these states. Fails if they take
    /// more memory than is allowed.
    pub async fn entries_of(
        &self,
        states: impl IntoIterator<Item = VisibleState>,
        part: Part,
        allowance: &Allowance,
    ) -> Result<HashMap<VisibleState, BTreeMap<StateKey, EventNid>>> {
        let states: Vec<StateNid> = states.into_iter().map(VisibleState::nid).collect();
        let entries = self.state_events.states.entries_of(&states, part, allowance).await?;
        Ok(entries
            .into_iter()
            .map(|(state, entries)| (VisibleState::unchecked(state), entries))
            .collect())
    }

    /// The internal numbers of the events of these entries of states. Fails if they take more
    /// memory than is allowed.
    pub async fn entries_at(
        &self,
        wanted: impl IntoIterator<Item = (VisibleState, StateKey)>,
        allowance: &Allowance,
    ) -> Result<HashMap<(VisibleState, StateKey), EventNid>> {
        let wanted: Vec<_> = wanted.into_iter().map(|(state, key)| (state.nid(), key)).collect();
        allowance.take(ENTRY_BYTES * wanted.len() as u64)?;
        let entries = self.state_events.states.get_many(&wanted).await?;
        Ok(entries
            .into_iter()
            .map(|((state, key), event)| ((VisibleState::unchecked(state), key), event))
            .collect())
    }
}
