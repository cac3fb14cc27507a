//! A directory with rooms and users.

use std::sync::Arc;

use ruma::{CanonicalJsonObject, OwnedRoomAliasId, OwnedUserId, RoomAliasId, UserId};
use stoa_base::Actor;
use stoa_directory::Directory;
use stoa_rooms::{CreateRoom, MemberProfile, MembershipChange, Room, Rooms};
use stoa_testing::{TestDatabase, TestNode, TestRooms, public_room};

pub(crate) struct Fixture {
    pub(crate) node: TestNode,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) directory: Directory,
}

impl Fixture {
    pub(crate) async fn new(database: &TestDatabase) -> Self {
        let TestRooms { node, rooms } = TestRooms::start(database).await;
        let directory = Directory::new(node.store.clone(), Arc::clone(&rooms));
        Self { node, rooms, directory }
    }

    /// A public room of `creator`.
    pub(crate) async fn room(&self, creator: &Actor) -> Arc<Room> {
        self.room_with(creator, public_room()).await
    }

    pub(crate) async fn room_with(&self, creator: &Actor, create: CreateRoom) -> Arc<Room> {
        let id = self.rooms.creation.create(creator, None, create).await.unwrap();
        self.rooms.known.by_id(&id).await.unwrap()
    }

    pub(crate) async fn join(&self, actor: &Actor, room: &Arc<Room>) {
        self.change(actor, room, MembershipChange::Join(CanonicalJsonObject::new())).await;
    }

    pub(crate) async fn leave(&self, actor: &Actor, room: &Arc<Room>) {
        self.change(actor, room, MembershipChange::Leave).await;
    }

    async fn change(&self, actor: &Actor, room: &Arc<Room>, change: MembershipChange) {
        let profile = MemberProfile::default();
        self.rooms
            .membership_changes
            .change(actor, None, room, change, &profile, None)
            .await
            .unwrap();
    }
}

pub(crate) fn actor(name: &str) -> Actor {
    Actor::user(&user(name))
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:test")).unwrap()
}

pub(crate) fn alias(localpart: &str) -> OwnedRoomAliasId {
    RoomAliasId::parse(format!("#{localpart}:test")).unwrap()
}

/// A JSON object, as contents are given to the engine.
pub(crate) fn content(json: &str) -> CanonicalJsonObject {
    serde_json::from_str(json).unwrap()
}
