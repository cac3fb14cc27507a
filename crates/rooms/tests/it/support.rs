//! A node with rooms, and short ways to do what users do.

use std::{sync::Arc, time::Duration};

use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, OwnedUserId, RoomVersionId, UserId,
    canonical_json::to_canonical_value, events::StateEventType, owned_server_name,
    signatures::Ed25519KeyPair,
};
use serde_json::{Value, json};
use stoa_base::{Actor, Clock, ManualClock, Random};
use stoa_rooms::{
    CreateRoom, Event, MemberProfile, MembershipChange, Parts, Preset, Reader, Result, Room,
    RoomCaches, RoomError, Rooms, RoomsOptions, Transaction, load_or_create_key, state::Part,
};
use stoa_storage::{NidAllocator, Store};
use stoa_testing::{TestDatabase, TestNode, TestNodeOptions};

pub const ALICE: &str = "@alice:test";
pub const BOB: &str = "@bob:test";
pub const CHARLIE: &str = "@charlie:test";

/// One node's rooms.
pub struct World {
    pub node: TestNode,
    pub rooms: Rooms,
    pub clock: ManualClock,
}

impl World {
    /// A node that has nothing in memory.
    pub async fn start(db: &TestDatabase) -> Self {
        Self::start_with(db, RoomsOptions::default()).await
    }

    pub async fn start_with(db: &TestDatabase, options: RoomsOptions) -> Self {
        Self::start_on(db.store().await, options).await
    }

    async fn start_on(store: Store, options: RoomsOptions) -> Self {
        let manual = ManualClock::at(1_700_000_000_000);
        let clock = Clock::from(manual.clone());
        let random = Random::system();
        let key: Ed25519KeyPair =
            load_or_create_key(&store, &clock, &random).await.expect("a signing key");
        let nids = Arc::new(NidAllocator::new(store.clone()));
        let caches = RoomCaches::new(&store, &nids, &options);
        let node = TestNode::start_on(
            store,
            TestNodeOptions {
                caches: caches.keepers(),
                clock: Some(clock.clone()),
                ..TestNodeOptions::default()
            },
        )
        .await;
        let rooms = Rooms::new(Parts {
            server_name: owned_server_name!("test"),
            key: Arc::new(key),
            clock,
            random,
            store: node.store.clone(),
            writer: node.writer.clone(),
            nids,
            caches,
            options,
        });
        Self { node, rooms, clock: manual }
    }

    /// Creates a room with the preset for public chats, changed by `change`.
    pub async fn try_create(
        &self,
        creator: &str,
        change: impl FnOnce(&mut CreateRoom),
    ) -> Result<Arc<Room>> {
        let mut create = CreateRoom {
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
        };
        change(&mut create);
        let id = self.rooms.create(&actor(creator), None, create).await?;
        self.rooms.room(&id).await
    }

    pub async fn create(
        &self,
        creator: &str,
        change: impl FnOnce(&mut CreateRoom),
    ) -> Arc<Room> {
        self.try_create(creator, change).await.expect("the room is created")
    }

    pub async fn change(
        &self,
        room: &Arc<Room>,
        who: &str,
        change: MembershipChange,
    ) -> Result<OwnedEventId> {
        let profile = MemberProfile::default();
        self.rooms.change_membership(&actor(who), None, room, change, &profile, None).await
    }

    pub async fn join(&self, room: &Arc<Room>, who: &str) -> OwnedEventId {
        let join = MembershipChange::Join(CanonicalJsonObject::new());
        self.change(room, who, join).await.expect("the join is allowed")
    }

    pub async fn invite(&self, room: &Arc<Room>, who: &str, whom: &str) -> OwnedEventId {
        let invite = MembershipChange::Invite(user(whom));
        self.change(room, who, invite).await.expect("the invite is allowed")
    }

    pub async fn leave(&self, room: &Arc<Room>, who: &str) -> OwnedEventId {
        self.change(room, who, MembershipChange::Leave).await.expect("one may leave")
    }

    /// Sends a message, each at a time of its own.
    pub async fn try_send(&self, room: &Arc<Room>, who: &str, text: &str) -> Result<OwnedEventId> {
        self.clock.advance(Duration::from_millis(1));
        let content = object(json!({ "msgtype": "m.text", "body": text }));
        let kind = "m.room.message".into();
        self.rooms.send_message(&actor(who), None, room, kind, content, None).await
    }

    pub async fn send(&self, room: &Arc<Room>, who: &str, text: &str) -> OwnedEventId {
        self.try_send(room, who, text).await.expect("the message is allowed")
    }

    pub async fn send_once(
        &self,
        room: &Arc<Room>,
        who: &str,
        text: &str,
        transaction: Transaction,
    ) -> Result<OwnedEventId> {
        let content = object(json!({ "msgtype": "m.text", "body": text }));
        let kind = "m.room.message".into();
        self.rooms.send_message(&actor(who), None, room, kind, content, Some(transaction)).await
    }

    pub async fn try_set(
        &self,
        room: &Arc<Room>,
        who: &str,
        (kind, key): (&str, &str),
        content: Value,
    ) -> Result<OwnedEventId> {
        let (actor, content) = (actor(who), object(content));
        self.rooms.send_state(&actor, None, room, kind.into(), key, content).await
    }

    pub async fn set(
        &self,
        room: &Arc<Room>,
        who: &str,
        entry: (&str, &str),
        content: Value,
    ) -> OwnedEventId {
        self.try_set(room, who, entry, content).await.expect("the change of state is allowed")
    }

    /// The content of an entry of the current state.
    pub async fn state(&self, room: &Room, kind: &str, key: &str) -> Option<Value> {
        let state = self.rooms.committed(room).await.expect("the room is readable").state;
        let kind = StateEventType::from(kind);
        let entry = self.rooms.entry_at(state, &kind, key).await.expect("the state is readable");
        entry.map(|event| content(&event))
    }

    /// A user's membership by the room's current state.
    pub async fn membership(&self, room: &Room, who: &str) -> Option<String> {
        let content = self.state(room, "m.room.member", who).await?;
        content["membership"].as_str().map(ToOwned::to_owned)
    }

    /// All events of the current state, as `type|state key`, in the order of the room.
    pub async fn state_entries(&self, room: &Room) -> Vec<String> {
        let state = self.rooms.committed(room).await.expect("the room is readable").state;
        let events = self.rooms.state_events(state, Part::All).await.expect("the state");
        events.iter().map(|event| entry_name(event)).collect()
    }

    /// An event as the user gets it.
    pub async fn event(&self, room: &Room, who: &str, id: &EventId) -> Result<Value> {
        let (event, membership) = self.rooms.event(&user(who), room, id).await?;
        let reader = Reader { device: None, with_room_id: true };
        let written = self.rooms.to_client(reader, [(&event, Some(&*membership))]).await?;
        Ok(serde_json::from_str(written[0].get()).expect("JSON"))
    }
}

pub fn user(id: &str) -> OwnedUserId {
    UserId::parse(id).expect("a user ID")
}

pub fn actor(id: &str) -> Actor {
    Actor::user(&user(id))
}

pub fn object(value: Value) -> CanonicalJsonObject {
    let value = to_canonical_value(value).expect("canonical JSON");
    value.into_object().expect("an object")
}

pub fn content(event: &Event) -> Value {
    serde_json::from_str(event.pdu.content.get()).expect("JSON")
}

pub fn entry_name(event: &Event) -> String {
    format!("{}|{}", event.pdu.event_type, event.pdu.state_key.as_deref().unwrap_or("-"))
}

/// Every room version that is served.
pub const VERSIONS: [RoomVersionId; 7] = [
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

#[track_caller]
pub fn assert_forbidden<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(RoomError::Forbidden(_))), "{result:?}");
}
