//! A cache of events.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use moka::sync::Cache;
use ruma::{EventId, OwnedEventId, RoomVersionId, room_version_rules::RoomVersionRules};
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, LogCache};
use stoa_storage::{
    Conn, Error, Result, Store,
    log::{Append, BatchRows, Stream, Topic},
    repo::{
        self,
        events::{Order, StoredEventRow},
    },
};

use crate::graph::event::Event;

/// For how many rooms the version stays in memory.
const VERSIONS: u64 = 20_000;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All events of all rooms, without visibility checks. Cheap to clone.
///
/// An event in memory is as of the position up to which this node has applied the log: a redaction,
/// or a change of its place or status, evicts it.
#[derive(Clone, Debug)]
pub struct Events {
    store: Store,
    by_nid: Arc<LogCache<EventNid, Arc<Event>>>,
    versions: Cache<RoomNid, Arc<RoomVersionRules>>,
    /// The rules of each version, shared by all rooms of that version.
    rules: Arc<Mutex<HashMap<String, Arc<RoomVersionRules>>>>,
}

impl Events {
    /// The events stored in `store`, with up to `cache_bytes` of them in memory.
    pub fn new(store: Store, cache_bytes: u64) -> Self {
        let by_nid = LogCache::new(cache_bytes, |_, event: &Arc<Event>| event.weight());
        Self {
            store,
            by_nid: Arc::new(by_nid),
            versions: Cache::new(VERSIONS),
            rules: Arc::default(),
        }
    }

    /// How many events are in memory, for metrics.
    pub fn cached(&self) -> u64 {
        self.by_nid.len()
    }

    /// How many bytes of events are in memory, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        self.by_nid.bytes()
    }

    /// Adds an event that this node has just built or stored.
    pub(crate) fn insert(&self, event: Arc<Event>) {
        self.by_nid.insert_new(event.nid, event);
    }

    /// The event with this internal number, if it is in memory.
    pub(crate) fn in_memory(&self, nid: EventNid) -> Option<Arc<Event>> {
        self.by_nid.get(&nid)
    }

    /// The event with this internal number.
    pub async fn get(&self, nid: EventNid) -> Result<Arc<Event>> {
        if let Some(event) = self.by_nid.get(&nid) {
            return Ok(event);
        }
        let mut events = self.get_many([nid]).await?;
        events.remove(&nid).ok_or_else(|| missing(nid))
    }

    /// The events with these internal numbers.
    //
    // Boxed, like `by_ids`: the future would contain the iterator, and if that borrows through
    // closures, the compiler cannot prove that the future can be sent between threads.
    pub fn get_many(
        &self,
        nids: impl IntoIterator<Item = EventNid>,
    ) -> BoxFuture<'_, Result<HashMap<EventNid, Arc<Event>>>> {
        let nids: Vec<EventNid> = nids.into_iter().collect();
        Box::pin(async move {
            let read = async |missing: Vec<EventNid>| {
                let mut conn = self.store.read().await?;
                let rows = repo::events::by_nids(&mut conn, missing).await?;
                let events = self.from_rows(&mut conn, rows).await?;
                Ok(events.into_iter().map(|event| (event.nid, event)).collect())
            };
            self.by_nid.get_or_read(nids, read).await
        })
    }

    /// The events with these internal numbers, in no particular order. This is for reading many
    /// events that others may never need: those that are not in memory yet are not added, since
    /// they would evict everything else.
    pub(crate) async fn read_many(&self, nids: &[EventNid]) -> Result<Vec<Arc<Event>>> {
        let mut found = Vec::with_capacity(nids.len());
        let mut missing = Vec::new();
        for nid in nids {
            match self.by_nid.get(nid) {
                Some(event) => found.push(event),
                None => missing.push(*nid),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let mut conn = self.store.read().await?;
        let rows = repo::events::by_nids(&mut conn, missing).await?;
        found.extend(self.from_rows(&mut conn, rows).await?);
        Ok(found)
    }

    /// Those of the events with these Matrix IDs that are on this server.
    pub fn by_ids<'a>(
        &'a self,
        ids: impl IntoIterator<Item = &'a EventId>,
    ) -> BoxFuture<'a, Result<HashMap<OwnedEventId, Arc<Event>>>> {
        let ids: Vec<&str> = ids.into_iter().map(EventId::as_str).collect();
        Box::pin(async move {
            let mut conn = self.store.read().await?;
            let rows = repo::events::by_ids(&mut conn, ids).await?;
            let events = self.from_rows(&mut conn, rows).await?;
            Ok(events.into_iter().map(|event| (event.pdu.event_id.clone(), event)).collect())
        })
    }

    /// The event with this Matrix ID.
    pub async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Event>>> {
        Ok(self.by_ids([id]).await?.into_values().next())
    }

    /// Parses rows that were read through `conn`, in their order.
    ///
    /// If an event is also in memory, that version is used, because the row cannot be newer.
    pub async fn from_rows(
        &self,
        conn: &mut Conn,
        rows: Vec<StoredEventRow>,
    ) -> Result<Vec<Arc<Event>>> {
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(event) = self.by_nid.get(&row.nid) {
                events.push(event);
                continue;
            }
            let rules = self.rules(conn, row.room).await?;
            events.push(Arc::new(Event::from_row(row, &rules)?));
        }
        Ok(events)
    }

    /// The rules of a room's version. They never change.
    pub async fn rules(&self, conn: &mut Conn, room: RoomNid) -> Result<Arc<RoomVersionRules>> {
        if let Some(rules) = self.versions.get(&room) {
            return Ok(rules);
        }
        let heads = repo::rooms::heads(conn, &[room]).await?;
        let head =
            heads.first().ok_or_else(|| Error::corrupt(format_args!("no room {}", room.0)))?;
        self.rules_of(room, &head.version)
    }

    /// The rules of a room of this version.
    fn rules_of(&self, room: RoomNid, version: &str) -> Result<Arc<RoomVersionRules>> {
        if let Some(rules) = self.versions.get(&room) {
            return Ok(rules);
        }
        let mut shared = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = if let Some(rules) = shared.get(version) {
            Arc::clone(rules)
        } else {
            let rules = rules_of(version)?;
            shared.insert(version.to_owned(), Arc::clone(&rules));
            rules
        };
        drop(shared);
        self.versions.insert(room, Arc::clone(&rules));
        Ok(rules)
    }

    /// Adds the rules of a room that is being created.
    pub(crate) fn insert_rules(&self, room: RoomNid, rules: Arc<RoomVersionRules>) {
        self.versions.insert(room, rules);
    }
}

/// The error for an event that a state refers to but that cannot be found.
pub(crate) fn not_there(nid: EventNid) -> Error {
    Error::corrupt(format_args!("event {} of a state is missing", nid.0))
}

/// The error for an event that cannot be found although something refers to its number.
pub(crate) fn missing(nid: EventNid) -> Error {
    Error::corrupt(format_args!("no event {}", nid.0))
}

fn rules_of(version: &str) -> Result<Arc<RoomVersionRules>> {
    RoomVersionId::try_from(version)
        .ok()
        .and_then(|version| version.rules())
        .map(Arc::new)
        .ok_or_else(|| Error::corrupt(format_args!("room version {version}")))
}

impl Events {
    /// Adds the events that another node wrote.
    fn apply_rows(&self, rows: BatchRows<'_>) {
        for row in rows.events {
            let version = rows.rooms.get(&row.room).map(|room| room.version.as_str());
            let event = version
                .ok_or_else(|| Error::corrupt(format_args!("no room {}", row.room.0)))
                .and_then(|version| self.rules_of(row.room, version))
                .and_then(|rules| Event::from_row(row.clone(), &rules));
            match event {
                Ok(event) => self.by_nid.put(row.nid, Arc::new(event)),
                Err(error) => {
                    tracing::error!(%error, event_id = row.event_id, "an event cannot be read");
                    self.by_nid.remove(&row.nid);
                }
            }
        }
    }
}

impl Events {
    /// Applies an append of this node whose positions follow `base`.
    fn apply_own(&self, base: Pos, append: &Append) {
        let redacted = append.redactions.iter().map(|row| row.nid);
        let updated = append.event_updates.iter().map(|row| row.nid);
        for nid in redacted.chain(updated) {
            self.by_nid.remove(&nid);
        }
        for row in &append.events {
            // The event has its place from now on.
            let pos = row.pos.map(|pos| Pos(base.0 + pos.0));
            if let (Some(event), Some(pos)) = (self.by_nid.get(&row.nid), pos) {
                let order = Order { pos: pos.0, depth: row.ord_depth, seq: row.ord_seq };
                let placed = Event { pos: Some(pos), order: Some(order), ..Event::clone(&event) };
                self.by_nid.insert_new(row.nid, Arc::new(placed));
            }
        }
    }
}

impl CacheKeeper for Events {
    fn apply(&self, batch: Batch<'_>) {
        if let Some(appends) = batch.appends {
            for (base, append) in appends {
                self.apply_own(*base, append);
            }
            return;
        }
        for (stream, topic) in batch.touched.iter() {
            if let (Stream::Redaction, Topic::Room(room)) = (stream, topic) {
                let room = RoomNid(*room);
                self.by_nid.remove_if(move |_, event| event.room == room);
            }
        }
        if let Some(rows) = batch.rows {
            self.apply_rows(rows);
        }
    }

    fn clear(&self, _: Pos) {
        self.by_nid.clear();
    }

    fn forget(&self, head: Pos) {
        self.versions.invalidate_all();
        self.clear(head);
    }

    /// The events have no positions, so they would be taken for events outside the timeline.
    fn given_up(&self, appends: &[&Append]) {
        for row in appends.iter().flat_map(|append| &append.events) {
            self.by_nid.remove(&row.nid);
        }
    }
}
