//! Sending messages and state.

use std::sync::Arc;

use serde_json::json;
use stoa_base::{Allowance, DeviceKey, Pos};
use stoa_rooms::{RoomError, Transaction};
use stoa_testing::{Backend, both_databases, run_on};

use crate::support::{ALICE, BOB, VERSIONS, World, actor, assert_forbidden, content, object, user};

fn transaction(device: &str, id: &str) -> Transaction {
    let device = DeviceKey::new(&user(ALICE), device.into(), 0);
    Transaction::new(device, "send !r m.room.message", id.into()).unwrap()
}

both_databases! {
    async fn messages_appear_in_the_order_in_which_they_were_sent(db: TestDatabase) {
        for version in VERSIONS {
            let world = World::start(db).await;
            let room = world.create(ALICE, |create| create.version = Some(version)).await;
            world.join(&room, BOB).await;
            let mut sent = Vec::new();
            for text in ["one", "two", "three"] {
                sent.push(world.send(&room, ALICE, text).await);
                sent.push(world.send(&room, BOB, text).await);
            }
            let head = world.node.tailer.applied();
            let any = Allowance::unlimited();
            let page = world.rooms.timelines.unchecked_newest(&room, Pos::START, head, 6, &any).await.unwrap();
            let ids: Vec<_> = page.events.iter().map(|event| event.pdu.event_id.clone()).collect();
            assert_eq!(ids, sent);
            assert!(page.more);
            let depths: Vec<_> = page.events.iter().map(|event| event.pdu.depth).collect();
            assert_eq!(depths, [8, 9, 10, 11, 12, 13]);
            for pair in page.events.windows(2) {
                assert_eq!(pair[1].pdu.prev_events, [pair[0].pdu.event_id.clone()]);
            }
        }
    }

    async fn many_concurrent_senders_create_no_fork(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let mut tasks = tokio::task::JoinSet::new();
        for sender in 0..8 {
            let (world, room) = (world.clone(), Arc::clone(&room));
            tasks.spawn(async move {
                let user = format!("@u{sender}:test");
                world.join(&room, &user).await;
                for n in 0..10 {
                    world.send(&room, &user, &n.to_string()).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let head = world.node.tailer.applied();
        let any = Allowance::unlimited();
        let page = world.rooms.timelines.unchecked_newest(&room, Pos::START, head, 1_000, &any).await.unwrap();
        assert_eq!(page.events.len(), 6 + 8 + 80);
        // One node builds each event on the one before, so there is no fork.
        for pair in page.events.windows(2) {
            assert_eq!(pair[1].pdu.prev_events, [pair[0].pdu.event_id.clone()]);
        }
        assert_eq!(world.rooms.known.committed(&room).await.unwrap().joined, 9);
    }

    async fn only_members_can_send(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        assert_forbidden(world.try_send(&room, BOB, "hello").await);
        assert_forbidden(world.try_set(&room, BOB, ("m.room.topic", ""), json!({})).await);
        world.join(&room, BOB).await;
        world.send(&room, BOB, "hello").await;
        // Bob's level is too low for state events.
        assert_forbidden(world.try_set(&room, BOB, ("m.room.topic", ""), json!({})).await);
        world.leave(&room, BOB).await;
        assert_forbidden(world.try_send(&room, BOB, "hello").await);
    }

    async fn a_transaction_sends_one_event(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let one = world.send_once(&room, ALICE, "one", transaction("A", "t 1")).await.unwrap();
        let again = world.send_once(&room, ALICE, "two", transaction("A", "t 1")).await.unwrap();
        assert_eq!(again, one);
        let other = world.send_once(&room, ALICE, "3", transaction("B", "t 1")).await.unwrap();
        assert_ne!(other, one);
        // A node that does not remember the transaction finds it in the database.
        let node = World::start(db).await;
        let same = node.rooms.known.by_id(&room.id).await.unwrap();
        let again = node.send_once(&same, ALICE, "four", transaction("A", "t 1")).await.unwrap();
        assert_eq!(again, one);
        // The conflict does not harm what is sent next.
        node.send(&same, ALICE, "five").await;
    }

    async fn concurrent_requests_of_one_transaction_send_one_event(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let send = || world.send_once(&room, ALICE, "one", transaction("A", "1"));
        let (one, two, three) = tokio::join!(send(), send(), send());
        assert_eq!(one.as_ref().unwrap(), two.as_ref().unwrap());
        assert_eq!(one.unwrap(), three.unwrap());
        let head = world.node.tailer.applied();
        let any = Allowance::unlimited();
        let page = world.rooms.timelines.unchecked_newest(&room, Pos::START, head, 1_000, &any).await.unwrap();
        assert_eq!(page.events.len(), 7);
    }

    async fn state_that_is_already_set_is_not_set_again(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let topic = ("m.room.topic", "");
        let one = world.set(&room, ALICE, topic, json!({ "topic": "a" })).await;
        let head = world.rooms.known.committed(&room).await.unwrap().head_pos;
        assert_eq!(world.set(&room, ALICE, topic, json!({ "topic": "a" })).await, one);
        assert_eq!(world.rooms.known.committed(&room).await.unwrap().head_pos, head);
        let two = world.set(&room, ALICE, topic, json!({ "topic": "b" })).await;
        let three = world.set(&room, ALICE, topic, json!({ "topic": "a" })).await;
        assert!(one != two && two != three && one != three);
        assert_eq!(world.state(&room, "m.room.topic", "").await, Some(json!({ "topic": "a" })));
    }

    async fn a_user_can_give_up_their_power_level_for_good(db: TestDatabase) {
        let world = World::start(db).await;
        let version = Some(ruma::RoomVersionId::V11);
        let room = world.create(ALICE, |create| create.version = version).await;
        let levels = ("m.room.power_levels", "");
        let set = json!({ "invite": 100, "users": { ALICE: 100, "@other:elsewhere": 20 } });
        let id = world.set(&room, ALICE, levels, set.clone()).await;
        let event = world.event(&room, ALICE, &id).await.unwrap();
        assert_eq!(event["content"], set, "nothing is added");
        world.set(&room, ALICE, levels, json!({})).await;
        assert_forbidden(world.try_set(&room, ALICE, levels, json!({ "users": {} })).await);
        assert_eq!(world.state(&room, "m.room.power_levels", "").await, Some(json!({})));
    }

    async fn an_event_over_64_kib_is_refused_and_harms_nothing(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let text = "x".repeat(64_000);
        world.send(&room, ALICE, &text).await;
        let text = "x".repeat(65_536);
        let sent = world.try_send(&room, ALICE, &text).await;
        assert!(matches!(sent, Err(RoomError::TooLarge(_))), "{sent:?}");
        let transaction = transaction("A", "1");
        let sent = world.send_once(&room, ALICE, &text, transaction.clone()).await;
        assert!(matches!(sent, Err(RoomError::TooLarge(_))), "{sent:?}");
        world.send_once(&room, ALICE, "short", transaction).await.unwrap();
        let set = world.try_set(&room, ALICE, ("x", ""), json!({ "x": text })).await;
        assert!(matches!(set, Err(RoomError::TooLarge(_))), "{set:?}");
    }

    async fn types_and_keys_have_limits(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let long = "x".repeat(256);
        for (kind, key) in [(&*long, ""), ("x", &*long)] {
            let set = world.try_set(&room, ALICE, (kind, key), json!({})).await;
            assert!(matches!(set, Err(RoomError::TooLarge(_))), "{set:?}");
        }
        for (kind, key) in [("a\0b", ""), ("x", "a\0b")] {
            let set = world.try_set(&room, ALICE, (kind, key), json!({})).await;
            assert!(matches!(set, Err(RoomError::BadJson(_))), "{set:?}");
        }
        let (alice, content) = (actor(ALICE), object(json!({})));
        let sent = world.rooms.sending.send_message(&alice, None, &room, long.into(), content, None).await;
        assert!(matches!(sent, Err(RoomError::TooLarge(_))), "{sent:?}");
    }

    async fn content_can_be_any_json_object(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let set = json!({ "nul": "a\u{0}b", "emoji": "🎉", "deep": [[[{ "": -9007199254740991_i64 }]]] });
        let id = world.set(&room, ALICE, ("x.y", "kéy 🎉"), set.clone()).await;
        let node = World::start(db).await;
        let same = node.rooms.known.by_id(&room.id).await.unwrap();
        let event = node.rooms.unchecked_events.by_id(&id).await.unwrap().unwrap();
        assert_eq!(content(&event), set);
        assert_eq!(node.state(&same, "x.y", "kéy 🎉").await, Some(set));
    }
}

/// Polls a future this many times, then drops it.
async fn give_up_after<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if once.await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[test]
fn a_request_cancelled_while_a_room_is_loaded_leaves_no_stale_head() {
    run_on(Backend::Postgres, async |db| {
        let (here, there) = (World::start(db).await, World::start(db).await);
        let room = here.create(ALICE, |_| {}).await;
        there.node.freshness.current().await.unwrap();
        let same_room = there.rooms.known.by_id(&room.id).await.unwrap();
        for polls in 1..=6 {
            let old = there.send(&same_room, ALICE, "known there").await;
            here.node.freshness.current().await.unwrap();
            let new = here.send(&room, ALICE, "from here").await;
            there.node.freshness.current().await.unwrap();
            give_up_after(polls, there.try_send(&same_room, ALICE, "given up")).await;
            let last = there.send(&same_room, ALICE, "after that").await;
            let last = there.rooms.unchecked_events.by_id(&last).await.unwrap().unwrap();
            assert!(!last.pdu.prev_events.contains(&old), "{polls}: it must follow {new}");
        }
    });
}
