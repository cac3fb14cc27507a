//! The in-memory caches of rooms, besides those of events and state nodes. They follow the log.

pub(crate) mod erased_users;
pub(crate) mod known_rooms;
pub(crate) mod memberships;
pub(crate) mod recent;
pub(crate) mod recent_changes;
pub(crate) mod recent_events;
pub(crate) mod room;
pub(crate) mod transactions;

use std::sync::Arc;

use stoa_cluster::CacheKeeper;
use stoa_storage::{NidAllocator, Store};

use self::{
    erased_users::ErasedUsers, known_rooms::KnownRooms, memberships::MembershipCache,
    recent_changes::RecentChanges, recent_events::RecentEvents, transactions::Transactions,
};
use crate::{
    graph::{events::Events, state::States},
    options::RoomsOptions,
};

/// The caches of rooms, which follow the log. They are made first, because the log's writer needs
/// to know them.
#[derive(Clone, Debug)]
pub struct RoomCaches {
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) events: Events,
    pub(crate) states: States,
    pub(crate) memberships: Arc<MembershipCache>,
    pub(crate) recent_events: Arc<RecentEvents>,
    pub(crate) recent_changes: Arc<RecentChanges>,
    /// What devices sent recently, by transaction.
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) erased: Arc<ErasedUsers>,
}

impl RoomCaches {
    /// Empty caches over `store`.
    pub fn new(store: &Store, nids: &Arc<NidAllocator>, options: &RoomsOptions) -> Self {
        let events = Events::new(store.clone(), options.event_bytes);
        Self {
            known: Arc::new(KnownRooms::new(store.clone(), events.clone(), options.room_bytes)),
            states: States::new(store.clone(), Arc::clone(nids), options.state_bytes),
            memberships: Arc::new(MembershipCache::new(store.clone(), options.membership_bytes)),
            recent_events: Arc::new(RecentEvents::new(
                events.clone(),
                usize::try_from(options.event_bytes / 2).unwrap_or(usize::MAX),
            )),
            recent_changes: Arc::default(),
            transactions: Arc::default(),
            erased: Arc::new(ErasedUsers::new(store.clone())),
            events,
        }
    }

    /// The caches, in the order in which batches have to be applied to them.
    pub fn keepers(&self) -> Vec<Arc<dyn CacheKeeper>> {
        vec![
            Arc::new(self.events.clone()),
            Arc::new(self.states.clone()),
            Arc::clone(&self.known) as _,
            Arc::clone(&self.memberships) as _,
            Arc::clone(&self.recent_events) as _,
            Arc::clone(&self.recent_changes) as _,
            Arc::clone(&self.transactions) as _,
            Arc::clone(&self.erased) as _,
        ]
    }

    /// How many bytes each of the caches takes, roughly, for metrics.
    pub fn bytes(&self) -> [(&'static str, u64); 7] {
        [
            ("rooms", self.known.bytes()),
            ("events", self.events.bytes()),
            ("recent_events", self.recent_events.recent.bytes()),
            ("recent_state_changes", self.recent_changes.0.bytes()),
            ("state_nodes", self.states.bytes()),
            ("memberships", self.memberships.bytes()),
            ("transactions", self.transactions.bytes()),
        ]
    }

    /// How many rooms, events and state nodes are in memory, for metrics.
    pub fn entries(&self) -> [(&'static str, u64); 3] {
        [
            ("rooms", self.known.len()),
            ("events", self.events.cached()),
            ("state_nodes", self.states.cached_nodes()),
        ]
    }
}
