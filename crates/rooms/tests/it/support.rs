//! A node with rooms, and shortcuts for what users do.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, OwnedUserId, RoomVersionId, UserId,
    canonical_json::{CanonicalJsonValue, to_canonical_value},
    events::StateEventType,
};
use serde_json::{Value, json};
use stoa_base::{Actor, Allowance};
use stoa_rooms::{
    CreateRoom, Event, MemberProfile, MembershipChange, Recipient, Result, Room, RoomError, Rooms,
    Transaction, VisibleState, state::Part,
};
use stoa_testing::{TestDatabase, TestNode, TestRooms, public_room, state_events};

pub(crate) const ALICE: &str = "@alice:test";
pub(crate) const BOB: &str = "@bob:test";
pub(crate) const CHARLIE: &str = "@charlie:test";

/// One node's rooms.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) node: TestNode,
    pub(crate) rooms: Arc<Rooms>,
}

impl World {
    /// A node with empty caches.
    pub(crate) async fn start(db: &TestDatabase) -> Self {
        let TestRooms { node, rooms } = TestRooms::start(db).await;
        Self { node, rooms }
    }

    /// Creates a room with the preset for public chats, changed by `change`.
    pub(crate) async fn try_create(
        &self,
        creator: &str,
        change: impl FnOnce(&mut CreateRoom),
    ) -> Result<Arc<Room>> {
        let mut create = public_room();
        change(&mut create);
        let id = self.rooms.creation.create(&actor(creator), None, create).await?;
        self.rooms.known.by_id(&id).await
    }

    pub(crate) async fn create(
        &self,
        creator: &str,
        change: impl FnOnce(&mut CreateRoom),
    ) -> Arc<Room> {
        self.try_create(creator, change).await.unwrap()
    }

    pub(crate) async fn change(
        &self,
        room: &Arc<Room>,
        who: &str,
        change: MembershipChange,
    ) -> Result<OwnedEventId> {
        let profile = MemberProfile::default();
        self.rooms.membership_changes.change(&actor(who), None, room, change, &profile, None).await
    }

    pub(crate) async fn join(&self, room: &Arc<Room>, who: &str) -> OwnedEventId {
        let join = MembershipChange::Join(CanonicalJsonObject::new());
        self.change(room, who, join).await.unwrap()
    }

    pub(crate) async fn invite(&self, room: &Arc<Room>, who: &str, whom: &str) -> OwnedEventId {
        let invite = MembershipChange::Invite(user(whom));
        self.change(room, who, invite).await.unwrap()
    }

    pub(crate) async fn leave(&self, room: &Arc<Room>, who: &str) -> OwnedEventId {
        self.change(room, who, MembershipChange::Leave).await.unwrap()
    }

    pub(crate) async fn try_send(
        &self,
        room: &Arc<Room>,
        who: &str,
        text: &str,
    ) -> Result<OwnedEventId> {
        let content = object(json!({ "msgtype": "m.text", "body": text }));
        let kind = "m.room.message".into();
        self.rooms.sending.send_message(&actor(who), None, room, kind, content, None).await
    }

    pub(crate) async fn send(&self, room: &Arc<Room>, who: &str, text: &str) -> OwnedEventId {
        self.try_send(room, who, text).await.unwrap()
    }

    pub(crate) async fn send_once(
        &self,
        room: &Arc<Room>,
        who: &str,
        text: &str,
        transaction: Transaction,
    ) -> Result<OwnedEventId> {
        let content = object(json!({ "msgtype": "m.text", "body": text }));
        let kind = "m.room.message".into();
        self.rooms
            .sending
            .send_message(&actor(who), None, room, kind, content, Some(transaction))
            .await
    }

    pub(crate) async fn try_set(
        &self,
        room: &Arc<Room>,
        who: &str,
        (kind, key): (&str, &str),
        content: Value,
    ) -> Result<OwnedEventId> {
        let (actor, content) = (actor(who), object(content));
        self.rooms.sending.send_state(&actor, None, room, kind.into(), key, content).await
    }

    pub(crate) async fn set(
        &self,
        room: &Arc<Room>,
        who: &str,
        entry: (&str, &str),
        content: Value,
    ) -> OwnedEventId {
        self.try_set(room, who, entry, content).await.unwrap()
    }

    /// The content of an entry of the current state.
    pub(crate) async fn state(&self, room: &Room, kind: &str, key: &str) -> Option<Value> {
        let state = self.rooms.known.committed(room).await.unwrap().state;
        let kind = StateEventType::from(kind);
        let entry = self.rooms.state_events.unchecked_entry(state, &kind, key).await.unwrap();
        entry.map(|event| content(&event))
    }

    /// A user's membership in the room's current state.
    pub(crate) async fn membership(&self, room: &Room, who: &str) -> Option<String> {
        let content = self.state(room, "m.room.member", who).await?;
        content["membership"].as_str().map(ToOwned::to_owned)
    }

    /// All events of the current state, as `type|state key`, in the order of the room.
    pub(crate) async fn state_entries(&self, room: &Room) -> Vec<String> {
        let state = self.rooms.known.committed(room).await.unwrap().state;
        let events = state_events(&self.rooms, VisibleState::unchecked(state), Part::All).await;
        events.iter().map(|event| entry_name(event)).collect()
    }

    /// An event as this user gets it.
    pub(crate) async fn event(&self, room: &Room, who: &str, id: &EventId) -> Result<Value> {
        let user_id = user(who);
        let (event, membership) = self.rooms.visibility.event(&user_id, room, id).await?;
        let recipient = Recipient { user_id: &user_id, device: None, with_room_id: true };
        let shown = [(&event, Some(&membership))];
        let written =
            self.rooms.client_format.to_client(recipient, shown, &Allowance::unlimited()).await?;
        Ok(serde_json::from_str(written[0].get()).unwrap())
    }
}

pub(crate) fn user(id: &str) -> OwnedUserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn actor(id: &str) -> Actor {
    Actor::user(&user(id))
}

pub(crate) fn object(value: Value) -> CanonicalJsonObject {
    match to_canonical_value(value).unwrap() {
        CanonicalJsonValue::Object(object) => object,
        value => panic!("{value:?} is not an object"),
    }
}

pub(crate) fn content(event: &Event) -> Value {
    serde_json::from_str(event.pdu.content.get()).unwrap()
}

pub(crate) fn entry_name(event: &Event) -> String {
    format!("{}|{}", event.pdu.event_type, event.pdu.state_key.as_deref().unwrap_or("-"))
}

/// Every supported room version.
pub(crate) const VERSIONS: [RoomVersionId; 7] = [
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

#[track_caller]
pub(crate) fn assert_forbidden<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(RoomError::Forbidden(_))), "{result:?}");
}
