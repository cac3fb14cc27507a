//! Read state and rooms with messages.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, OwnedUserId, UserId, events::receipt::ReceiptThread,
};
use serde_json::{Value, json};
use stoa_base::{Actor, Pos};
use stoa_push::{Mark, MarkKind, ReadState, ReadStateError, Receipt};
use stoa_rooms::{MemberProfile, MembershipChange, Room, Rooms};
use stoa_testing::{TestDatabase, TestNode, TestRooms, public_room};

pub(crate) struct Fixture {
    pub(crate) node: TestNode,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) read_state: ReadState,
}

impl Fixture {
    pub(crate) async fn new(database: &TestDatabase) -> Self {
        let TestRooms { node, rooms } = TestRooms::start(database).await;
        let (store, writer) = (node.store.clone(), node.writer.clone());
        let read_state = ReadState::new(store, writer, Arc::clone(&rooms), node.clock.clone());
        Self { node, rooms, read_state }
    }

    /// A room of `alice`, with `bob` in it.
    pub(crate) async fn room(&self) -> Arc<Room> {
        let id = self.rooms.creation.create(&actor("alice"), None, public_room()).await.unwrap();
        let room = self.rooms.known.by_id(&id).await.unwrap();
        let join = MembershipChange::Join(CanonicalJsonObject::new());
        let profile = MemberProfile::default();
        self.rooms
            .membership_changes
            .change(&actor("bob"), None, &room, join, &profile, None)
            .await
            .unwrap();
        room
    }

    pub(crate) async fn send(&self, room: &Arc<Room>) -> OwnedEventId {
        self.send_content(room, json!({ "body": "hello" })).await
    }

    /// Sends an event that relates to another.
    pub(crate) async fn relate(
        &self,
        room: &Arc<Room>,
        rel_type: &str,
        to: &EventId,
    ) -> OwnedEventId {
        let relation = json!({ "rel_type": rel_type, "event_id": to });
        self.send_content(room, json!({ "body": "hello", "m.relates_to": relation })).await
    }

    async fn send_content(&self, room: &Arc<Room>, content: Value) -> OwnedEventId {
        let content = serde_json::from_value(content).unwrap();
        let kind = "m.room.message".into();
        self.rooms
            .sending
            .send_message(&actor("alice"), None, room, kind, content, None)
            .await
            .unwrap()
    }

    pub(crate) async fn mark(
        &self,
        who: &str,
        room: &Room,
        kind: MarkKind,
        event_id: &EventId,
        thread: Option<&str>,
    ) -> Result<(), ReadStateError> {
        let thread = &ReceiptThread::try_from(thread).unwrap();
        self.read_state.mark(&actor(who), room, &[Mark { kind, event_id, thread }]).await
    }

    /// Marks an event as read, which must succeed.
    pub(crate) async fn read(&self, who: &str, room: &Room, event_id: &EventId) {
        self.mark(who, room, MarkKind::Read, event_id, None).await.unwrap();
    }

    /// The receipts of the room after `since`, as `reader` sees them.
    pub(crate) async fn receipts(&self, reader: &str, room: &Room, since: Pos) -> Vec<Receipt> {
        let (reader, rooms, head) = (user(reader), [room.nid], self.head());
        let changed =
            self.read_state.receipts_changed(&reader, &rooms, since, head, i64::MAX).await;
        changed.unwrap().remove(&room.nid).unwrap_or_default()
    }

    pub(crate) fn head(&self) -> Pos {
        self.node.tailer.applied()
    }
}

pub(crate) fn actor(name: &str) -> Actor {
    Actor::user(&user(name))
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:test")).unwrap()
}
