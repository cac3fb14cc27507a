//! The users who were erased at their wish when their account was closed. Their events are shown
//! redacted to whoever joined the room after that, and was not in it when they were sent.
//!
//! It holds for timelines and for states alike. Only what stands in a room's present state stays as
//! it is, since whoever takes part needs it: without `m.room.encryption`, a newcomer would write in
//! the clear. What is about the erased user themself, such as their name, is redacted even so.
//!
//! All of them are in memory, at about a hundred bytes each: only users of this server whose accounts
//! are closed can be among them.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use ruma::{OwnedUserId, UserId};
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    Store,
    log::{Stream, Topic},
    repo::erasure,
};

use crate::{
    Result, Rooms, events::Event, pdu::Pdu, redact::redacted_json, state::StateKey,
    visibility::Stay,
};

#[derive(Debug)]
pub(crate) struct ErasedUsers {
    store: Store,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each was erased. None until they are read.
    users: Option<Arc<HashMap<OwnedUserId, Pos>>>,
    /// Counts the changes, so that what was read before one of them is not kept.
    generation: u64,
}

impl ErasedUsers {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, as this node has applied the log, each with when it was.
    pub(crate) async fn all(&self) -> Result<Arc<HashMap<OwnedUserId, Pos>>> {
        loop {
            let generation = {
                let known = self.known();
                if let Some(users) = &known.users {
                    return Ok(Arc::clone(users));
                }
                known.generation
            };
            let read = erasure::erased_users(&mut self.store.read().await?).await?;
            let mut known = self.known();
            if known.generation == generation {
                known.users = Some(Arc::new(read.into_iter().collect()));
            }
        }
    }
}

impl CacheKeeper for ErasedUsers {
    fn apply(&self, batch: Batch<'_>) {
        // This only says that somebody may have been erased, so the users are read again.
        let is_erasure = |(stream, topic): (Stream, &Topic)| {
            stream == Stream::Erasure && matches!(topic, Topic::User(_))
        };
        if batch.touched.iter().any(is_erasure) {
            self.clear(batch.last);
        }
    }

    fn clear(&self, _: Pos) {
        let mut known = self.known();
        known.generation += 1;
        known.users = None;
    }
}

impl Rooms {
    /// These events as `reader` is shown them, in their order, where the reader may see them.
    pub async fn without_erased(
        &self,
        reader: &UserId,
        events: impl IntoIterator<Item = &Arc<Event>>,
    ) -> Result<Vec<Arc<Event>>> {
        let mut events: Vec<Arc<Event>> = events.into_iter().cloned().collect();
        let hidden = self.hidden_from(reader, &events).await?;
        for event in events.iter_mut().filter(|event| hidden.contains(&event.nid)) {
            *event = self.without_content(event).await?;
        }
        Ok(events)
    }

    /// Which of these events are shown redacted to `reader`.
    ///
    /// Where nobody is erased who sent one of them, this reads nothing. The number of queries does
    /// not depend on the number of events.
    pub(crate) async fn hidden_from(
        &self,
        reader: &UserId,
        events: &[Arc<Event>],
    ) -> Result<HashSet<EventNid>> {
        let erased = self.erased.all().await?;
        let mut hidden = HashSet::new();
        if erased.is_empty() {
            return Ok(hidden);
        }
        let by_erased: Vec<(&Arc<Event>, Pos)> = events
            .iter()
            .filter_map(|event| Some((event, *erased.get(&event.pdu.sender)?)))
            .collect();
        if by_erased.is_empty() {
            return Ok(hidden);
        }
        let rooms: HashSet<RoomNid> = by_erased.iter().map(|(event, _)| event.room).collect();
        let stays = self.stays_in_rooms(reader, rooms.iter().copied()).await?;
        let mut present = HashMap::new();
        for (nid, room) in self.rooms_by_nid(rooms).await? {
            present.insert(nid, self.committed(&room).await?.state);
        }
        let entry = |event: &Event| Some((*present.get(&event.room)?, of_room(event)?));
        let entries: Vec<_> = by_erased.iter().filter_map(|(event, _)| entry(event)).collect();
        let standing = self.states.get_many(&entries).await?;
        for (event, erased) in by_erased {
            let stands = entry(event).and_then(|entry| standing.get(&entry)) == Some(&event.nid);
            let mut stays = stays.get(&event.room).into_iter().flatten();
            if !stands && !stays.any(|stay| stay.opens(event, erased)) {
                hidden.insert(event.nid);
            }
        }
        Ok(hidden)
    }

    /// The event as it is shown to whoever was not there: redacted, and with nothing that stood there
    /// before.
    pub(crate) async fn without_content(&self, event: &Event) -> Result<Arc<Event>> {
        let room = self.room_by_nid(event.room).await?;
        let json = redacted_json(&event.pdu, &room.rules)?;
        let pdu = Pdu::from_stored(event.pdu.event_id.clone(), json, &room.rules)?;
        Ok(Arc::new(Event { pdu: Arc::new(pdu), replaces: None, ..event.clone() }))
    }
}

/// The entry of the state that the event sets, unless it is about its sender: its key is their ID,
/// perhaps with more that an underscore sets apart from it, such as the device of a call.
fn of_room(event: &Event) -> Option<StateKey> {
    let pdu = &event.pdu;
    let state_key = pdu.state_key.as_deref()?;
    let about = state_key.strip_prefix('_').unwrap_or(state_key);
    let rest = about.strip_prefix(pdu.sender.as_str());
    let is_about_sender = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    (!is_about_sender).then(|| StateKey::new(&pdu.event_type.to_string(), state_key))
}

impl Stay {
    /// Whether it was going on when the event was sent, or later, before its sender was erased.
    fn opens(&self, event: &Event, erased: Pos) -> bool {
        let Some(order) = event.order else { return false };
        self.begin.pos.0 <= erased.0.max(order.pos)
            && self.end.as_ref().is_none_or(|end| end.pos.0 > order.pos)
    }
}
