//! One room in memory: what is committed of it, and the head that the next event is built on.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use moka::sync::Cache;
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, RoomVersionId, room_version_rules::RoomVersionRules,
};
use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_cluster::{Batch, CacheKeeper, SingleFlight};
use stoa_storage::{
    Error, Store,
    log::{Chain, Stream, Topic},
    repo::{self, rooms::RoomHeadRow},
};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::{
    Result, RoomError,
    events::{Event, Events},
};

/// What a room takes in memory, in bytes, roughly, with its place in the cache and its head.
const ROOM: usize = 2_048;

/// A room that this server knows.
#[derive(Debug)]
pub struct Room {
    /// Its internal number.
    pub nid: RoomNid,
    /// Its Matrix ID.
    pub id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// The rules of its version.
    pub rules: Arc<RoomVersionRules>,
    /// Where new events are built, one after the other.
    pub(crate) head: AsyncMutex<Option<Head>>,
    /// Appends of this node to the room that are not answered yet.
    pub(crate) in_flight: watch::Sender<usize>,
    /// Whether the room moved in another way than by what was built on `head`.
    stale: AtomicBool,
    committed: Mutex<Option<Committed>>,
    /// What `head` was last made from, for whoever must not wait for it.
    chain: Mutex<Weak<Chain>>,
    /// Counts how often the log has lost what the room may rest on.
    losses: AtomicU64,
    /// Counts the batches that touched the room, so that a read that began before one is not kept.
    generation: AtomicU64,
}

/// A room as it is after everything that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The current state.
    pub state: StateNid,
    /// When the current state last changed.
    pub state_pos: Pos,
    /// When the timeline last moved.
    pub head_pos: Pos,
    /// How many members are joined.
    pub joined: i64,
    /// How many members are invited.
    pub invited: i64,
    /// The head of the log that this was read at, or brought up to.
    as_of: Pos,
}

impl Committed {
    const fn new(row: &RoomHeadRow, as_of: Pos) -> Self {
        Self {
            state: row.state_root,
            state_pos: row.state_pos,
            head_pos: row.head_pos,
            joined: row.joined,
            invited: row.invited,
            as_of,
        }
    }
}

/// What the next event of a room is built on. It may be ahead of what is committed.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) chain: Arc<Chain>,
    pub(crate) extremities: Vec<Extremity>,
    pub(crate) state: StateNid,
}

/// A forward extremity.
#[derive(Clone, Debug)]
pub(crate) struct Extremity {
    pub(crate) nid: EventNid,
    pub(crate) event_id: OwnedEventId,
    pub(crate) depth: u64,
    pub(crate) state_after: StateNid,
}

impl Extremity {
    /// An event that none here follows.
    pub(crate) fn of(event: &Event) -> Result<Self, Error> {
        let no_state = || Error::corrupt("an extremity has no state");
        Ok(Self {
            nid: event.nid,
            event_id: event.pdu.event_id.clone(),
            depth: event.pdu.depth,
            state_after: event.state_after.ok_or_else(no_state)?,
        })
    }
}

impl Room {
    fn new(
        nid: RoomNid,
        id: OwnedRoomId,
        version: RoomVersionId,
        rules: Arc<RoomVersionRules>,
    ) -> Self {
        Self {
            nid,
            id,
            version,
            rules,
            head: AsyncMutex::new(None),
            in_flight: watch::Sender::new(0),
            stale: AtomicBool::new(false),
            committed: Mutex::new(None),
            chain: Mutex::default(),
            losses: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    /// Waits until every append of this node to the room is answered.
    pub(crate) async fn settled(&self) {
        let mut in_flight = self.in_flight.subscribe();
        // The sender lives as long as `self`.
        let _ = in_flight.wait_for(|count| *count == 0).await;
    }

    /// Whether a head that was loaded earlier must not be built on any more.
    pub(crate) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }

    fn cached_commit(&self) -> Option<Committed> {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was read of the room, unless a batch touched it since `generation`.
    fn keep_commit(&self, committed: Committed, generation: u64) -> bool {
        let mut slot = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.generation.load(Ordering::Acquire) == generation;
        if is_current {
            *slot = Some(committed);
        }
        is_current
    }

    fn apply(&self, batch: Batch<'_>) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::AcqRel);
        let Some(appends) = batch.appends else {
            let read = batch.rows.and_then(|rows| Some((rows.rooms.get(&self.nid)?, rows.as_of)));
            let read = read.map(|(row, as_of)| Committed::new(row, as_of));
            let known = committed.take().filter(|known| known.as_of >= batch.last);
            *committed = known.into_iter().chain(read).max_by_key(|known| known.as_of);
            self.stale.store(true, Ordering::Release);
            return;
        };
        let Some(current) = committed.as_mut() else { return };
        if current.as_of > batch.prev {
            if current.as_of < batch.last {
                *committed = None;
            }
            return;
        }
        for (base, append) in appends {
            for update in append.room_updates.iter().filter(|row| row.room_nid == self.nid) {
                current.state = update.state_root.unwrap_or(current.state);
                if let Some(pos) = update.state_pos {
                    current.state_pos = Pos(base.0 + pos.0);
                }
                if let Some(pos) = update.head_pos {
                    current.head_pos = Pos(base.0 + pos.0);
                }
                current.joined += update.joined;
                current.invited += update.invited;
            }
        }
        current.as_of = batch.last;
    }

    /// A chain that starts from the room as it was read after `losses` of them, none where there
    /// was another one since. It breaks with the next.
    fn start_chain(&self, row: &RoomHeadRow, losses: u64) -> Option<Arc<Chain>> {
        let chain = Arc::new(Chain::new(self.nid, row.state_pos, row.head_pos));
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&chain);
        (self.losses.load(Ordering::SeqCst) == losses).then_some(chain)
    }

    /// Drops what is in memory of the room, and has nothing more be written of what was built on it.
    fn forget(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(chain) = chain {
            chain.note_loss();
        }
        self.clear();
    }

    fn clear(&self) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.stale.store(true, Ordering::Release);
        *committed = None;
    }
}

/// The rooms in memory.
#[derive(Debug)]
pub(crate) struct RoomCache {
    store: Store,
    events: Events,
    by_nid: Cache<RoomNid, Arc<Room>>,
    by_id: Cache<OwnedRoomId, RoomNid>,
    /// Every room that somebody holds, also one that the cache has dropped: there must never be two
    /// of the same room, each with a head of its own.
    alive: Mutex<HashMap<RoomNid, Weak<Room>>>,
    /// What is committed of which rooms is being read.
    reading: SingleFlight<RoomNid>,
}

impl RoomCache {
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

    /// The one room of this number: `new`, unless it is in memory already.
    fn keep(&self, new: Room) -> Arc<Room> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if u64::try_from(alive.len()).unwrap_or(u64::MAX) > 2 * self.by_nid.entry_count() + 1_000 {
            alive.retain(|_, room| room.strong_count() > 0);
        }
        // Where the log has lost a room, its number may be another's.
        let known = alive.get(&new.nid).and_then(Weak::upgrade).filter(|room| room.id == new.id);
        let room = known.unwrap_or_else(|| Arc::new(new));
        alive.insert(room.nid, Arc::downgrade(&room));
        drop(alive);
        self.by_nid.insert(room.nid, Arc::clone(&room));
        room
    }

    pub(crate) fn len(&self) -> u64 {
        self.by_nid.entry_count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.by_nid.run_pending_tasks();
        self.by_id.run_pending_tasks();
        self.by_nid.weighted_size() + self.by_id.weighted_size()
    }

    /// The number of the room with this ID.
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

    /// The room with this number.
    pub(crate) async fn get(&self, nid: RoomNid) -> Result<Arc<Room>> {
        if let Some(room) = self.by_nid.get(&nid) {
            return Ok(room);
        }
        let rows = repo::rooms::heads(&mut self.store.read().await?, &[nid]).await?;
        let row = rows
            .into_iter()
            .next()
            .ok_or_else(|| Error::corrupt(format_args!("no room {}", nid.0)))?;
        self.keep_row(row)
    }

    /// The rooms with these numbers, with what is committed of each in memory: a few queries for
    /// all that are not there yet.
    pub(crate) async fn get_many(
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
        // Only now: a batch that comes between is noticed by a room that somebody holds.
        let behind = rooms.values().filter(|room| room.cached_commit().is_none());
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
        let generations: HashMap<RoomNid, u64> = nids
            .iter()
            .filter_map(|nid| rooms.get(nid))
            .map(|room| (room.nid, room.generation.load(Ordering::Acquire)))
            .collect();
        let mut conn = self.store.read().await?;
        for (row, as_of) in repo::rooms::heads_as_of(&mut conn, nids).await? {
            if let (Some(room), Some(generation)) = (rooms.get(&row.nid), generations.get(&row.nid))
            {
                room.keep_commit(Committed::new(&row, as_of), *generation);
            }
        }
        Ok(())
    }

    /// Puts a room into memory that was read.
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

    /// Puts a room into memory that is being made.
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

    /// Puts a room in the place of one that was made under a provisional ID.
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

    /// The room as it is after everything that is committed and applied.
    pub(crate) async fn committed(&self, room: &Room) -> Result<Committed> {
        loop {
            if let Some(committed) = room.cached_commit() {
                return Ok(committed);
            }
            // Whoever comes first reads for all.
            let (mine, others) = self.reading.claim([room.nid]);
            if mine.keys().is_empty() {
                for other in others {
                    other.landed().await;
                }
                continue;
            }
            let generation = room.generation.load(Ordering::Acquire);
            let mut conn = self.store.read().await?;
            let (row, as_of) = repo::rooms::heads_as_of(&mut conn, &[room.nid])
                .await?
                .into_iter()
                .next()
                .ok_or_else(|| Error::corrupt(format_args!("no room {}", room.nid.0)))?;
            let committed = Committed::new(&row, as_of);
            if room.keep_commit(committed, generation) {
                return Ok(committed);
            }
        }
    }

    /// The head of a room as the database has it.
    pub(crate) async fn load_head(&self, room: &Room) -> Result<Head> {
        loop {
            if let Some(head) = self.try_load_head(room).await? {
                return Ok(head);
            }
        }
    }

    /// The head of a room, unless the log has lost what the room rests on while it was read.
    async fn try_load_head(&self, room: &Room) -> Result<Option<Head>> {
        let losses = room.losses.load(Ordering::SeqCst);
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
        rows.into_iter().next().ok_or_else(|| Error::corrupt(format_args!("no room {}", nid.0)))
    }
}

impl CacheKeeper for RoomCache {
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
