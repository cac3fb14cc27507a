//! The users who were erased at their wish when their account was closed. Their events are shown
//! redacted to whoever was not in the room when they were sent.
//!
//! All of them are in memory, at about a hundred bytes each: only users of this server whose accounts
//! are closed can be among them.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use ruma::OwnedUserId;
use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    Store,
    log::{Stream, Topic},
    repo::erasure,
};

use crate::{Result, Rooms, events::Event, pdu::Pdu, redact::redacted_json};

#[derive(Debug)]
pub(crate) struct ErasedUsers {
    store: Store,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// None until they are read.
    users: Option<Arc<HashSet<OwnedUserId>>>,
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

    /// All of them, as this node has applied the log.
    pub(crate) async fn all(&self) -> Result<Arc<HashSet<OwnedUserId>>> {
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
    /// The event as it is shown to whoever was not there: redacted, and with nothing that stood there
    /// before.
    pub(crate) async fn without_content(&self, event: &Event) -> Result<Arc<Event>> {
        let room = self.room_by_nid(event.room).await?;
        let json = redacted_json(&event.pdu, &room.rules)?;
        let pdu = Pdu::from_stored(event.pdu.event_id.clone(), json, &room.rules)?;
        Ok(Arc::new(Event { pdu: Arc::new(pdu), replaces: None, ..event.clone() }))
    }
}
