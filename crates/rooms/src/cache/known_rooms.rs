//! The rooms that this server knows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use moka::sync::Cache;
use ruma::{OwnedRoomId, RoomId, RoomVersionId, room_version_rules::RoomVersionRules};
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, SingleFlight, ValueTicket};
use stoa_storage::{
    Error, Store,
    log::{Stream, Topic},
    repo::{self, rooms::RoomHeadRow},
};

use crate::{
    cache::room::{Committed, Extremity, Head, Room},
    error::{Result, RoomError},
    graph::events::Events,
};

/// How many bytes a room takes in memory, roughly, with its cache entry and its head.
const ROOM: usize = 2_048;

/// The rooms that this server knows. Recently used ones are in memory.
#[derive(Debug)]
pub struct KnownRooms {
    store: Store,
    events: Events,
    by_nid: Cache<RoomNid, Arc<Room>>,
    by_id: Cache<OwnedRoomId, RoomNid>,
    /// Every room that is still referenced anywhere, even if the cache has evicted it. There must
    /// never be two instances of the same room, each with its own head.
    alive: Mutex<HashMap<RoomNid, Weak<Room>>>,
    /// The rooms whose committed state is being read.
    reading: SingleFlight<RoomNid>,
}

impl KnownRooms {
    pub(crate) fn new(store: Store, events: Events, max_bytes: u64) -> Self {
        Self {
            store,
            events,
            by_nid: Cache::builder()
                .max_capacity(max_bytes)
                .weigher(|_, room: &Arc<Room>| {
                    u32::try_from(ROOM + room.id.as_str().len()).unwrap_or(u32::MAX)
                })
                .build(),
            by_id: Cache::builder()
                .max_capacity(max_bytes / 4)
                .weigher(|id: &OwnedRoomId, _| {
                    u32::try_from(256 + id.as_str().len()).unwrap_or(u32::MAX)
                })
                .build(),
            alive: Mutex::default(),
            reading: SingleFlight::default(),
        }
    }

    fn alive(&self, nid: RoomNid) -> Option<Arc<Room>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).get(&nid)?.upgrade()
    }

    fn living(&self) -> Vec<Arc<Room>> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.values().filter_map(Weak::upgrade).collect()
    }

    /// The one instance of this room: the one in memory, or else `new`.
    fn keep(&self, new: Room) -> Arc<Room> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if u64::try_from(alive.len()).unwrap_or(u64::MAX) > 2 * self.by_nid.entry_count() + 1_000 {
            alive.retain(|_, room| room.strong_count() > 0);
        }
        // If the log has lost a room, its number may have been given to another.
        let known = alive.get(&new.nid).and_then(Weak::upgrade).filter(|room| room.id == new.id);
        let room = known.unwrap_or_else(|| Arc::new(new));
        alive.insert(room.nid, Arc::downgrade(&room));
        drop(alive);
        self.by_nid.insert(room.nid, Arc::clone(&room));
        room
    }

    /// How many rooms are in memory, for metrics.
    pub(crate) fn len(&self) -> u64 {
        self.by_nid.entry_count()
    }

    /// How many bytes the rooms take, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        self.by_nid.run_pending_tasks();
        self.by_id.run_pending_tasks();
        self.by_nid.weighted_size() + self.by_id.weighted_size()
    }

    /// The room with this Matrix ID. Fails with [`RoomError::NotFound`] if there is none.
    pub async fn by_id(&self, id: &RoomId) -> Result<Arc<Room>> {
        match self.nid(id).await? {
            Some(nid) => self.by_nid(nid).await,
            None => Err(RoomError::NotFound("room")),
        }
    }

    /// The internal number of the room with this Matrix ID.
    pub(crate) async fn nid(&self, id: &RoomId) -> Result<Option<RoomNid>> {
        if let Some(nid) = self.by_id.get(id) {
            return Ok(Some(nid));
        }
        let nid = repo::rooms::nid(&mut self.store.read().await?, id.as_str()).await?;
        if let Some(nid) = nid {
            self.by_id.insert(id.to_owned(), nid);
        }
        Ok(nid)
    }

    /// The room with this internal number.
    pub async fn by_nid(&self, nid: RoomNid) -> Result<Arc<Room>> {
        if let Some(room) = self.by_nid.get(&nid) {
            return Ok(room);
        }
        let rows = repo::rooms::heads(&mut self.store.read().await?, &[nid]).await?;
        let row = rows.into_iter().next().ok_or_else(|| no_room(nid))?;
        self.keep_row(row)
    }

    /// The rooms with these internal numbers, with what is committed of each loaded into memory. A
    /// few queries suffice for all that are not in memory yet. Afterwards [`KnownRooms::committed`]
    /// reads no table for any of them, unless a batch touches it in between.
    pub async fn by_nids(
        &self,
        nids: impl IntoIterator<Item = RoomNid>,
    ) -> Result<HashMap<RoomNid, Arc<Room>>> {
        let mut rooms = HashMap::new();
        let mut missing = Vec::new();
        for nid in nids {
            match self.by_nid.get(&nid) {
                Some(room) => {
                    rooms.insert(nid, room);
                }
                None => missing.push(nid),
            }
        }
        if !missing.is_empty() {
            for row in repo::rooms::heads(&mut self.store.read().await?, &missing).await? {
                rooms.insert(row.nid, self.keep_row(row)?);
            }
        }
        // Only now that the rooms are referenced: a referenced room notices a batch that comes in
        // between.
        let behind = rooms.values().filter(|room| room.committed.get().is_none());
        let (mine, others) = self.reading.claim(behind.map(|room| room.nid));
        self.read_commits(mine.keys(), &rooms).await?;
        drop(mine);
        for other in others {
            other.landed().await;
        }
        Ok(rooms)
    }

    /// Reads what is committed of these rooms.
    async fn read_commits(
        &self,
        nids: &[RoomNid],
        rooms: &HashMap<RoomNid, Arc<Room>>,
    ) -> Result<()> {
        if nids.is_empty() {
            return Ok(());
        }
        let tickets: HashMap<RoomNid, ValueTicket> = nids
            .iter()
            .filter_map(|nid| rooms.get(nid))
            .map(|room| (room.nid, room.committed.ticket()))
            .collect();
        let mut conn = self.store.read().await?;
        for (row, as_of) in repo::rooms::heads_as_of(&mut conn, nids).await? {
            if let (Some(room), Some(ticket)) = (rooms.get(&row.nid), tickets.get(&row.nid)) {
                room.committed.keep(*ticket, Committed::new(&row, as_of));
            }
        }
        Ok(())
    }

    /// Adds a room from a database row.
    fn keep_row(&self, row: RoomHeadRow) -> Result<Arc<Room>> {
        let nid = row.nid;
        let id = OwnedRoomId::try_from(row.room_id).map_err(Error::corrupt)?;
        let version = RoomVersionId::try_from(row.version).map_err(Error::corrupt)?;
        let rules = version
            .rules()
            .map(Arc::new)
            .ok_or_else(|| RoomError::UnsupportedVersion(version.clone()))?;
        self.events.insert_rules(nid, Arc::clone(&rules));
        self.by_id.insert(id.clone(), nid);
        Ok(self.keep(Room::new(nid, id, version, rules)))
    }

    /// Adds a room that is being created.
    pub(crate) fn insert_new(
        &self,
        nid: RoomNid,
        id: OwnedRoomId,
        version: RoomVersionId,
        rules: Arc<RoomVersionRules>,
    ) -> Arc<Room> {
        self.events.insert_rules(nid, Arc::clone(&rules));
        self.keep(Room::new(nid, id, version, rules))
    }

    /// Replaces a room that was created under a provisional ID.
    pub(crate) fn replace_new(
        &self,
        nid: RoomNid,
        id: OwnedRoomId,
        version: RoomVersionId,
        rules: Arc<RoomVersionRules>,
    ) -> Arc<Room> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).remove(&nid);
        self.keep(Room::new(nid, id, version, rules))
    }

    /// The room as of everything that is committed and applied on this node.
    pub async fn committed(&self, room: &Room) -> Result<Committed> {
        let read = async || {
            let mut conn = self.store.read().await?;
            let rows = repo::rooms::heads_as_of(&mut conn, &[room.nid]).await?;
            let row = rows.into_iter().next();
            let (row, as_of) = row.ok_or_else(|| no_room(room.nid))?;
            Ok::<_, RoomError>(Committed::new(&row, as_of))
        };
        let look = || room.committed.get().map(Ok);
        self.reading.look_or_read(room.nid, look, room.committed.get_or_read(read)).await
    }

    /// The head of a room, read from the database.
    pub(crate) async fn load_head(&self, room: &Room) -> Result<Head> {
        loop {
            if let Some(head) = self.try_load_head(room).await? {
                return Ok(head);
            }
        }
    }

    /// The head of a room, or none if, while it was being read, the log lost something that the
    /// room may depend on.
    async fn try_load_head(&self, room: &Room) -> Result<Option<Head>> {
        let losses = room.losses();
        let mut conn = self.store.snapshot().await?;
        let row = self.row(&mut conn, room.nid).await?;
        let rows = repo::events::by_nids(&mut conn, row.extremities.iter().copied()).await?;
        let events: HashMap<EventNid, _> = self
            .events
            .from_rows(&mut conn, rows)
            .await?
            .into_iter()
            .map(|event| (event.nid, event))
            .collect();
        let extremities = row.extremities.iter().map(|nid| {
            let event = events.get(nid).ok_or_else(|| Error::corrupt("an extremity is missing"))?;
            Extremity::of(event)
        });
        let extremities = extremities.collect::<Result<_, Error>>()?;
        let chain = room.start_chain(&row, losses);
        Ok(chain.map(|chain| Head { chain, extremities, state: row.state_root }))
    }

    async fn row(&self, conn: &mut stoa_storage::Conn, nid: RoomNid) -> Result<RoomHeadRow, Error> {
        let rows = repo::rooms::heads(conn, &[nid]).await?;
        rows.into_iter().next().ok_or_else(|| no_room(nid))
    }
}

impl CacheKeeper for KnownRooms {
    fn apply(&self, batch: Batch<'_>) {
        for (stream, topic) in batch.touched.iter() {
            if let (Stream::Timeline | Stream::State, Topic::Room(nid)) = (stream, topic)
                && let Some(room) = self.alive(RoomNid(*nid))
            {
                room.apply(batch);
            }
        }
    }

    fn clear(&self, _: Pos) {
        self.living().iter().for_each(|room| room.clear());
    }

    fn forget(&self, _: Pos) {
        self.by_nid.invalidate_all();
        self.by_id.invalidate_all();
        self.living().iter().for_each(|room| room.forget());
    }
}

fn no_room(nid: RoomNid) -> Error {
    Error::corrupt(format_args!("no room {}", nid.0))
}
