//! The log has lost batches that a node has seen. Nothing new is based on what was lost.

use std::sync::Arc;

use ruma::{EventId, OwnedEventId, TransactionId};
use serde_json::json;
use stoa_base::{DeviceKey, Pos};
use stoa_rooms::{Room, Transaction};
use stoa_testing::{Backend, TestDatabase, both_databases, run_on, surgery};

use crate::support::{ALICE, BOB, World, user};

fn transaction() -> Transaction {
    let device = DeviceKey::new(&user(ALICE), "DEVICE".into(), 0);
    let id = <&TransactionId>::from("1");
    Transaction::new(device, "send !r m.room.message", id).unwrap()
}

async fn prev_events(world: &World, event: &EventId) -> Vec<OwnedEventId> {
    world.rooms.unchecked_events.by_id(event).await.unwrap().unwrap().pdu.prev_events.clone()
}

/// A room in which a message is kept and everything after it is lost.
struct Loss {
    world: World,
    room: Arc<Room>,
    kept: OwnedEventId,
    lost: OwnedEventId,
    seen: Pos,
}

impl Loss {
    /// Only messages are lost, so the room's state stays the same.
    async fn of_messages(db: &TestDatabase) -> Self {
        Self::of(db, async |world, room| {
            world.send(room, ALICE, "lost too").await;
        })
        .await
    }

    /// State is lost too.
    async fn of_state(db: &TestDatabase) -> Self {
        Self::of(db, async |world, room| {
            world.join(room, BOB).await;
            world.set(room, ALICE, ("m.room.topic", ""), json!({ "topic": "lost" })).await;
        })
        .await
    }

    async fn of(db: &TestDatabase, more: impl AsyncFnOnce(&World, &Arc<Room>)) -> Self {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let kept = world.send(&room, ALICE, "kept").await;
        let (until, noted) =
            (world.node.tailer.applied(), surgery::note_room(&world.node.store, room.nid).await);
        let lost = world.send_once(&room, ALICE, "lost", transaction()).await.unwrap();
        more(&world, &room).await;
        let seen = world.node.tailer.applied();
        surgery::lose_log_after(&world.node.store, until).await;
        surgery::put_room_back(&world.node.store, &noted).await;
        Self { world, room, kept, lost, seen }
    }
}

both_databases! {
    async fn events_sent_after_a_loss_follow_what_is_left(db: TestDatabase) {
        let Loss { world, room, kept, lost, seen } = Loss::of_state(db).await;
        world.node.tailer.catch_up().await.unwrap();
        let next = world.send(&room, ALICE, "next").await;
        assert_eq!(prev_events(&world, &next).await, [kept]);
        assert!(world.node.tailer.applied() > seen);
        assert!(world.rooms.unchecked_events.by_id(&lost).await.unwrap().is_none());
        assert_eq!(world.state(&room, "m.room.topic", "").await, None);
        assert_eq!(world.membership(&room, BOB).await, None);
    }

    async fn a_lost_transaction_is_sent_again(db: TestDatabase) {
        let Loss { world, room, lost, .. } = Loss::of_messages(db).await;
        world.node.tailer.catch_up().await.unwrap();
        let again = world.send_once(&room, ALICE, "lost", transaction()).await.unwrap();
        assert_ne!(again, lost);
        assert!(world.rooms.unchecked_events.by_id(&again).await.unwrap().is_some());
    }
}

/// Nothing looks at the log before the message is sent.
#[test]
fn sending_a_message_can_be_the_first_to_notice_a_loss() {
    run_on(Backend::Postgres, async |db| {
        let Loss { world, room, kept, seen, .. } = Loss::of_messages(db).await;
        let next = world.send(&room, ALICE, "next").await;
        assert_eq!(prev_events(&world, &next).await, [kept]);
        assert!(world.node.tailer.applied() > seen);
    });
}

/// Another node has continued from what is left, with as many events as were lost.
#[test]
fn a_room_that_another_node_continued_is_read_again() {
    run_on(Backend::Postgres, async |db| {
        let Loss { world, room, lost, seen, .. } = Loss::of_messages(db).await;
        let other = World::start(db).await;
        let there = other.rooms.known.by_id(&room.id).await.unwrap();
        let mut newest = None;
        while other.node.tailer.applied() < seen {
            newest = Some(other.send(&there, ALICE, "elsewhere").await);
        }
        let next = world.send(&room, ALICE, "next").await;
        let newest = newest.unwrap();
        assert_eq!(prev_events(&world, &next).await, std::slice::from_ref(&newest));
        world.event(&room, ALICE, &newest).await.unwrap();
        world.event(&room, ALICE, &lost).await.unwrap_err();
    });
}
