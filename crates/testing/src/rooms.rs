//! The rooms of one node, put together as the server does it.

use std::sync::Arc;

use ruma::{CanonicalJsonObject, OwnedServerName};
use stoa_base::{Allowance, Clock, Random};
use stoa_cluster::CacheKeeper;
use stoa_rooms::{
    CreateRoom, Event, MemberProfile, Parts, Preset, RoomCaches, Rooms, RoomsOptions, VisibleState,
    load_or_create_key, state::Part,
};
use stoa_storage::{NidAllocator, Store};

use crate::{TestDatabase, TestNode, TestNodeOptions};

/// A node with rooms.
#[derive(Clone, Debug)]
pub struct TestRooms {
    /// The node.
    pub node: TestNode,
    /// Its rooms.
    pub rooms: Arc<Rooms>,
}

impl TestRooms {
    /// A node of the server `test`.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, RoomsOptions::default()).await
    }

    /// A node whose rooms have these limits.
    pub async fn start_with(database: &TestDatabase, options: RoomsOptions) -> Self {
        Self::start_with_caches(database, options, Vec::new()).await
    }

    /// A node whose rooms have these limits, with additional caches that follow the log.
    pub async fn start_with_caches(
        database: &TestDatabase,
        options: RoomsOptions,
        others: Vec<Arc<dyn CacheKeeper>>,
    ) -> Self {
        let node = TestNodeOptions { caches: others, ..TestNodeOptions::default() };
        Self::start_on(database.store().await, options, node).await
    }

    /// A node on a database that is open and migrated.
    pub async fn start_on(store: Store, options: RoomsOptions, node: TestNodeOptions) -> Self {
        let nids = Arc::new(NidAllocator::new(store.clone()));
        let caches = RoomCaches::new(&store, &nids, &options);
        let mut keepers = caches.keepers();
        keepers.push(Arc::clone(&nids) as _);
        keepers.extend(node.caches);
        let node = TestNode::start_on(store, TestNodeOptions { caches: keepers, ..node }).await;
        let random = Random::system();
        let key = load_or_create_key(&node.store, &Clock::system(), &random).await;
        let rooms = Rooms::new(Parts {
            server_name: OwnedServerName::try_from("test").expect("a server name"),
            key: Arc::new(key.expect("a signing key")),
            clock: node.clock.clone(),
            random,
            store: node.store.clone(),
            writer: node.writer.clone(),
            nids,
            caches,
            options,
        });
        Self { node, rooms: Arc::new(rooms) }
    }
}

/// The events of a part of a state, in the room's order.
pub async fn state_events(rooms: &Rooms, state: VisibleState, part: Part) -> Vec<Arc<Event>> {
    let entries = rooms.states.entries_of([state], part, &Allowance::unlimited()).await;
    let entries = entries.expect("a state").remove(&state).unwrap_or_default();
    let events = rooms.unchecked_events.get_many(entries.into_values()).await;
    let mut events: Vec<_> = events.expect("the events of a state").into_values().collect();
    events.sort_unstable_by_key(|event| (event.order, event.nid));
    events
}

/// Options for a room that everybody can join, with nothing else set.
pub fn public_room() -> CreateRoom {
    CreateRoom {
        version: None,
        preset: Preset::PublicChat,
        creation_content: CanonicalJsonObject::new(),
        power_level_override: CanonicalJsonObject::new(),
        canonical_alias: None,
        initial_state: Vec::new(),
        name: None,
        topic: None,
        invite: Vec::new(),
        is_direct: false,
        profile: MemberProfile::default(),
    }
}
