//! Rooms: the event graph, authorization, state, membership, and who may see what.
//!
//! [`Rooms`] is built once. Its changing functions take an [`Actor`](stoa_base::Actor), build
//! events on the room's head in memory, and return when they are flushed; its reading functions take
//! the reader, and give only what that user may see. What the network brings comes in through
//! [`Rooms::receive`].

mod advance;
mod audit;
mod change;
mod client_format;
mod create;
mod erased;
mod error;
pub mod events;
mod key;
mod many;
mod membership;
mod memberships;
mod once;
mod pages;
pub mod pdu;
mod power;
mod read;
mod receive;
mod recent;
mod redact;
pub mod resolution;
mod resolution_of_room;
mod room;
mod send;
mod stage;
pub mod state;
mod state_changes;
mod timeline;
pub mod tokens;
mod visibility;
mod visible_state;

use std::sync::{Arc, atomic::AtomicU64};

use ruma::{
    OwnedServerName, RoomId, RoomVersionId, ServerName, UserId, signatures::Ed25519KeyPair,
};
use stoa_base::{Clock, Random, RoomNid};
use stoa_cluster::CacheKeeper;
use stoa_storage::{NidAllocator, Store, log::Writer};
use tokio::sync::Semaphore;

pub use self::{
    client_format::Recipient,
    create::{CreateRoom, Preset},
    error::{Result, RoomError},
    events::{Event, Events},
    key::load_or_create as load_or_create_key,
    membership::{MemberProfile, MembershipChange},
    memberships::{Membership, Memberships, MembershipsOfUser},
    once::Transaction,
    pages::Caching,
    power::Power,
    receive::Received,
    room::{Committed, Room},
    stage::NewEvent,
    state::States,
    timeline::Page,
    visibility::{Seen, ShownEvent},
    visible_state::VisibleState,
};
use self::{
    erased::ErasedUsers, memberships::MembershipCache, once::Transactions, room::RoomCache,
    state_changes::RecentChanges, timeline::RecentEvents,
};

/// How much the caches of rooms may hold.
#[derive(Clone, Debug)]
pub struct RoomsOptions {
    /// The version of rooms whose creator names none.
    pub default_version: RoomVersionId,
    /// How many bytes of rooms stay in memory, roughly.
    pub room_bytes: u64,
    /// How many bytes of events stay in memory, roughly.
    pub event_bytes: u64,
    /// How many bytes of state trees stay in memory, roughly.
    pub state_bytes: u64,
    /// How many bytes of users' memberships stay in memory, roughly.
    pub membership_bytes: u64,
    /// How many state resolutions run at once.
    pub resolutions: usize,
    /// How many rooms one user may be in.
    pub joined_rooms: usize,
}

impl Default for RoomsOptions {
    fn default() -> Self {
        Self {
            default_version: RoomVersionId::V12,
            room_bytes: 40 << 20,
            event_bytes: 32 << 20,
            state_bytes: 24 << 20,
            membership_bytes: 24 << 20,
            resolutions: 2,
            joined_rooms: 10_000,
        }
    }
}

/// All rooms of this server.
#[derive(Debug)]
pub struct Rooms {
    server_name: OwnedServerName,
    key: Arc<Ed25519KeyPair>,
    clock: Clock,
    random: Random,
    store: Store,
    writer: Writer,
    nids: Arc<NidAllocator>,
    options: RoomsOptions,
    rooms: Arc<RoomCache>,
    events: Events,
    states: States,
    memberships: Arc<MembershipCache>,
    recent: Arc<RecentEvents>,
    recent_changes: Arc<RecentChanges>,
    transactions: Arc<Transactions>,
    erased: Arc<ErasedUsers>,
    /// Limits the state resolutions that run at once.
    heavy: Semaphore,
    /// The next time at which this node may make a room, in milliseconds since the Unix epoch.
    next_creation: AtomicU64,
}

/// The caches of rooms, which follow the log. They are made first, since the log's writer needs
/// to know them.
#[derive(Clone, Debug)]
pub struct RoomCaches {
    rooms: Arc<RoomCache>,
    events: Events,
    states: States,
    memberships: Arc<MembershipCache>,
    recent: Arc<RecentEvents>,
    recent_changes: Arc<RecentChanges>,
    /// What a device sent lately, by the key of the transaction.
    transactions: Arc<Transactions>,
    erased: Arc<ErasedUsers>,
}

impl RoomCaches {
    /// Empty caches over `store`.
    pub fn new(store: &Store, nids: &Arc<NidAllocator>, options: &RoomsOptions) -> Self {
        let events = Events::new(store.clone(), options.event_bytes);
        Self {
            rooms: Arc::new(RoomCache::new(store.clone(), events.clone(), options.room_bytes)),
            states: States::new(store.clone(), Arc::clone(nids), options.state_bytes),
            memberships: Arc::new(MembershipCache::new(store.clone(), options.membership_bytes)),
            recent: Arc::new(RecentEvents::new(
                events.clone(),
                usize::try_from(options.event_bytes / 2).unwrap_or(usize::MAX),
            )),
            recent_changes: Arc::default(),
            transactions: Arc::default(),
            erased: Arc::new(ErasedUsers::new(store.clone())),
            events,
        }
    }

    /// The caches, in the order in which they are to hear of a batch.
    pub fn keepers(&self) -> Vec<Arc<dyn CacheKeeper>> {
        vec![
            Arc::new(self.events.clone()),
            Arc::new(self.states.clone()),
            Arc::clone(&self.rooms) as _,
            Arc::clone(&self.memberships) as _,
            Arc::clone(&self.recent) as _,
            Arc::clone(&self.recent_changes) as _,
            Arc::clone(&self.transactions) as _,
            Arc::clone(&self.erased) as _,
        ]
    }
}

/// What rooms are built from.
#[derive(Debug)]
pub struct Parts {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// The key that it signs with.
    pub key: Arc<Ed25519KeyPair>,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// The database.
    pub store: Store,
    /// The way into the log.
    pub writer: Writer,
    /// Internal numbers.
    pub nids: Arc<NidAllocator>,
    /// The caches, which the log's reader keeps.
    pub caches: RoomCaches,
    /// The limits.
    pub options: RoomsOptions,
}

impl Rooms {
    /// The rooms of a server.
    pub fn new(parts: Parts) -> Self {
        let caches = parts.caches;
        Self {
            server_name: parts.server_name,
            key: parts.key,
            clock: parts.clock,
            random: parts.random,
            store: parts.store,
            writer: parts.writer,
            nids: parts.nids,
            heavy: Semaphore::new(parts.options.resolutions.max(1)),
            next_creation: AtomicU64::new(0),
            options: parts.options,
            rooms: caches.rooms,
            events: caches.events,
            states: caches.states,
            memberships: caches.memberships,
            recent: caches.recent,
            recent_changes: caches.recent_changes,
            transactions: caches.transactions,
            erased: caches.erased,
        }
    }

    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// Whether a user belongs to this server.
    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.server_name
    }

    /// The version of rooms whose creator names none.
    pub fn default_version(&self) -> &RoomVersionId {
        &self.options.default_version
    }

    /// The events of all rooms, without a look at who may see them.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The states of all rooms, without a look at who may see them.
    pub fn unchecked_states(&self) -> &States {
        &self.states
    }

    /// The room with this Matrix ID.
    pub async fn room(&self, room_id: &RoomId) -> Result<Arc<Room>> {
        match self.rooms.nid(room_id).await? {
            Some(nid) => self.rooms.get(nid).await,
            None => Err(RoomError::NotFound("room")),
        }
    }

    /// The room with this internal number.
    pub async fn room_by_nid(&self, nid: RoomNid) -> Result<Arc<Room>> {
        self.rooms.get(nid).await
    }

    /// A room as it is after everything that is committed and applied on this node.
    pub async fn committed(&self, room: &Room) -> Result<Committed> {
        self.rooms.committed(room).await
    }

    /// How many bytes each of the caches takes, roughly, for metrics.
    pub fn cached_bytes(&self) -> [(&'static str, u64); 7] {
        [
            ("rooms", self.rooms.bytes()),
            ("events", self.events.bytes()),
            ("recent_events", self.recent.bytes()),
            ("recent_state_changes", self.recent_changes.bytes()),
            ("state_nodes", self.states.bytes()),
            ("memberships", self.memberships.bytes()),
            ("transactions", self.transactions.bytes()),
        ]
    }

    /// How many rooms, events and state nodes are in memory, for metrics.
    pub fn cached(&self) -> [(&'static str, u64); 3] {
        [
            ("rooms", self.rooms.len()),
            ("events", self.events.cached()),
            ("state_nodes", self.states.cached_nodes()),
        ]
    }
}
