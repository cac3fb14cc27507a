//! A node with rooms and users whose clients sync.

use std::{sync::Arc, time::Duration};

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId,
    canonical_json::to_canonical_value,
    events::{StateEventType, receipt::ReceiptThread},
};
use serde_json::{Value, json};
use stoa_base::Actor;
use stoa_ephemeral::Typing;
use stoa_push::{Mark, MarkKind, ReadState};
use stoa_rooms::{CreateRoom, MembershipChange, Room, Rooms, RoomsOptions, Transaction};
use stoa_sync::{ChangeIndex, Parts, Sources};
use stoa_testing::{TestDatabase, TestRooms, public_room};
use tokio_util::sync::CancellationToken;

pub(crate) struct Site {
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) typing: Typing,
    pub(crate) read_state: Arc<ReadState>,
    pub(crate) stopping: CancellationToken,
    pub(crate) node: stoa_testing::TestNode,
}

impl Site {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        let changes = Arc::new(ChangeIndex::new());
        let options = RoomsOptions::default();
        let others = vec![Arc::clone(&changes) as _];
        let TestRooms { node, rooms } =
            TestRooms::start_with_caches(database, options, others).await;
        let stopping = CancellationToken::new();
        let (typing, _) = Typing::start(
            &node.store,
            node.clock.clone(),
            node.waiters.clone(),
            Duration::from_millis(50),
        )
        .await
        .unwrap();
        let read_state = Arc::new(ReadState::new(
            node.store.clone(),
            node.writer.clone(),
            Arc::clone(&rooms),
            node.clock.clone(),
        ));
        let sources = Sources::new(Parts {
            store: node.store.clone(),
            tailer: Arc::clone(&node.tailer),
            waiters: node.waiters.clone(),
            rooms: Arc::clone(&rooms),
            changes,
            typing: typing.clone(),
            read_state: Arc::clone(&read_state),
            stopping: stopping.clone(),
        });
        Self { rooms, sources: Arc::new(sources), typing, read_state, stopping, node }
    }

    /// Returns when this node has applied everything that is in the log.
    pub(crate) async fn catch_up(&self) {
        self.node.freshness.current().await.unwrap();
    }

    pub(crate) async fn room(&self, room_id: &OwnedRoomId) -> Arc<Room> {
        self.rooms.known.by_id(room_id).await.unwrap()
    }

    /// Creates a room in which everybody may do everything.
    pub(crate) async fn create(&self, user: &str) -> OwnedRoomId {
        self.create_with(user, |_| {}).await
    }

    pub(crate) async fn create_with(
        &self,
        user: &str,
        change: impl FnOnce(&mut CreateRoom),
    ) -> OwnedRoomId {
        let mut create = CreateRoom {
            power_level_override: object(json!({ "state_default": 0, "users_default": 0 })),
            ..public_room()
        };
        change(&mut create);
        self.rooms.creation.create(&actor(user), None, create).await.unwrap()
    }

    pub(crate) async fn join(&self, user: &str, room: &OwnedRoomId) {
        self.change(user, room, MembershipChange::Join(object(json!({})))).await;
    }

    pub(crate) async fn change(&self, user: &str, room: &OwnedRoomId, change: MembershipChange) {
        let room = self.room(room).await;
        let profile = Default::default();
        self.rooms
            .membership_changes
            .change(&actor(user), None, &room, change, &profile, None)
            .await
            .unwrap();
    }

    pub(crate) async fn send(&self, user: &str, room: &OwnedRoomId, body: &str) -> OwnedEventId {
        self.send_from(user, room, body, None).await
    }

    pub(crate) async fn send_from(
        &self,
        user: &str,
        room: &OwnedRoomId,
        body: &str,
        transaction: Option<Transaction>,
    ) -> OwnedEventId {
        let room = self.room(room).await;
        let content = object(json!({ "msgtype": "m.text", "body": body }));
        let kind = "m.room.message".into();
        self.rooms
            .sending
            .send_message(&actor(user), None, &room, kind, content, transaction)
            .await
            .unwrap()
    }

    pub(crate) async fn redact(
        &self,
        user: &str,
        room: &OwnedRoomId,
        event_id: &EventId,
        reason: &str,
    ) {
        let room = self.room(room).await;
        let content = object(json!({ "reason": reason }));
        self.rooms
            .sending
            .redact(&actor(user), None, &room, event_id, content, None)
            .await
            .unwrap();
    }

    pub(crate) async fn read_up_to(
        &self,
        user: &str,
        room: &OwnedRoomId,
        event_id: &EventId,
        kind: MarkKind,
        thread: ReceiptThread,
    ) {
        let room = self.room(room).await;
        let mark = Mark { kind, event_id, thread: &thread };
        self.read_state.mark(&actor(user), &room, &[mark]).await.unwrap();
    }

    pub(crate) async fn set(
        &self,
        user: &str,
        room: &OwnedRoomId,
        kind: &str,
        key: &str,
        content: Value,
    ) -> OwnedEventId {
        let room = self.room(room).await;
        let kind = StateEventType::from(kind);
        self.rooms
            .sending
            .send_state(&actor(user), None, &room, kind, key, object(content))
            .await
            .unwrap()
    }
}

pub(crate) fn user_id(name: &str) -> OwnedUserId {
    format!("@{name}:test").try_into().unwrap()
}

pub(crate) fn actor(name: &str) -> Actor {
    Actor::user(&user_id(name))
}

pub(crate) fn object(value: Value) -> ruma::CanonicalJsonObject {
    let value = to_canonical_value(value).unwrap();
    value.as_object().unwrap().clone()
}
