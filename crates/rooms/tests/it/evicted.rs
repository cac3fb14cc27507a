//! Events that are not stored yet may have been evicted from memory. Nothing is decided without
//! them.

use std::time::Duration;

use serde_json::json;
use stoa_base::{Allowance, Pos};
use stoa_rooms::RoomsOptions;
use stoa_testing::{Backend, TestRooms, run_on};

use crate::support::{ALICE, BOB, World};

/// This runs on SQLite, where a test can block writes to the log.
#[test]
fn power_levels_that_are_not_stored_yet_count() {
    run_on(Backend::Sqlite, async |db| {
        let few = RoomsOptions { event_bytes: 40_000, ..RoomsOptions::default() };
        let TestRooms { node, rooms } = TestRooms::start_with(db, few).await;
        let world = World { node, rooms };
        let other = world.create(ALICE, |_| {}).await;
        for _ in 0..40 {
            world.send(&other, ALICE, "other").await;
        }
        let head = world.node.tailer.applied();
        let page = world
            .rooms
            .timelines
            .unchecked_newest(&other, Pos::START, head, 40, &Allowance::unlimited())
            .await
            .unwrap();
        let others: Vec<_> = page.events.iter().map(|event| event.nid).collect();

        let version = Some(ruma::RoomVersionId::V10);
        let room = world.create(ALICE, |create| create.version = version).await;
        world.join(&room, BOB).await;
        world.send(&room, BOB, "before").await;
        let held = world.node.store.write().await.unwrap();
        let muting = tokio::spawn({
            let (world, room) = (world.clone(), room.clone());
            let levels = json!({ "users": { ALICE: 100 }, "events_default": 50 });
            async move { world.try_set(&room, ALICE, ("m.room.power_levels", ""), levels).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.rooms.unchecked_events.get_many(others).await.unwrap();
        let sending = tokio::spawn({
            let (world, room) = (world.clone(), room.clone());
            async move { world.try_send(&room, BOB, "after").await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(held);
        muting.await.unwrap().unwrap();
        let sent = sending.await.unwrap();
        assert!(sent.is_err(), "a muted user cannot send: {sent:?}");
    });
}
