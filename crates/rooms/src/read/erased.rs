//! Users who asked to be erased when their account was deactivated. Their events are shown redacted
//! to users who joined the room after the erasure and were not in it when the events were sent.
//!
//! This applies to timelines and states alike. Only the events in a room's current state stay as
//! they are, because its members need them: without `m.room.encryption`, a newcomer would send
//! unencrypted messages. Events about the erased users themselves, such as their names, are
//! redacted nevertheless.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::UserId;
use stoa_base::{EventNid, Pos, RoomNid};

use crate::{
    cache::{erased_users::ErasedUsers, known_rooms::KnownRooms},
    error::Result,
    graph::{
        event::Event,
        pdu::Pdu,
        redacted::redacted_json,
        state::{StateKey, States},
    },
    read::stays::Stays,
};

/// Removes the content of erased users' events for readers who must not see it.
#[derive(Clone, Debug)]
pub struct ErasedContent {
    pub(crate) states: States,
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) users: Arc<ErasedUsers>,
    pub(crate) stays: Stays,
}

impl ErasedContent {
    /// These events as `reader` is shown them, in the same order. The reader must be allowed to see
    /// them.
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

    /// Which of these events are shown to `reader` redacted.
    ///
    /// If none of the senders was erased, this reads nothing. The number of queries does not depend
    /// on the number of events.
    pub(crate) async fn hidden_from(
        &self,
        reader: &UserId,
        events: &[Arc<Event>],
    ) -> Result<HashSet<EventNid>> {
        let erased = self.users.all().await?;
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
        let stays = self.stays.in_rooms(reader, rooms.iter().copied()).await?;
        let mut present = HashMap::new();
        for (nid, room) in self.known.by_nids(rooms).await? {
            present.insert(nid, self.known.committed(&room).await?.state);
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

    /// The event as it is shown to users who were not there: redacted, and without the event that
    /// it replaced.
    pub(crate) async fn without_content(&self, event: &Event) -> Result<Arc<Event>> {
        let room = self.known.by_nid(event.room).await?;
        let json = redacted_json(&event.pdu, &room.rules)?;
        let pdu = Pdu::from_stored(event.pdu.event_id.clone(), json, &room.rules)?;
        Ok(Arc::new(Event { pdu: Arc::new(pdu), replaces: None, ..event.clone() }))
    }
}

/// The state entry that the event sets, unless the entry is about its sender. It is if the state
/// key is the sender's ID, possibly after an underscore, and possibly followed by an underscore and
/// more, such as the device of a call.
fn of_room(event: &Event) -> Option<StateKey> {
    let pdu = &event.pdu;
    let state_key = pdu.state_key.as_deref()?;
    let about = state_key.strip_prefix('_').unwrap_or(state_key);
    let rest = about.strip_prefix(pdu.sender.as_str());
    let is_about_sender = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    (!is_about_sender).then(|| StateKey::new(&pdu.event_type.to_string(), state_key))
}
