//! Nodes of a newer version change rooms and users that this node has in memory, and name streams
//! that it does not know. It then forgets everything that may be affected.

use stoa_testing::{Backend, run_on, surgery};

use crate::support::{ALICE, BOB, World, user};

#[test]
fn an_affected_room_or_user_is_read_again() {
    run_on(Backend::Postgres, async |db| {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        world.join(&room, BOB).await;
        let sent = world.send(&room, ALICE, "before").await;
        let is_in = async || {
            let membership = world.rooms.memberships.in_room(&user(BOB), &room).await.unwrap();
            membership.unwrap().membership.to_string()
        };
        let body =
            async || world.event(&room, ALICE, &sent).await.unwrap()["content"]["body"].clone();
        assert_eq!((is_in().await.as_str(), body().await.as_str()), ("join", Some("before")));

        let store = &world.node.store;
        surgery::write_elsewhere(store, r#"[["passports","@bob:test"]]"#, surgery::BOB_LEAVES)
            .await;
        world.node.freshness.current().await.unwrap();
        assert_eq!(is_in().await, "leave");
        let touched = format!(r#"[["repaints",{}]]"#, room.nid.0);
        surgery::write_elsewhere(store, &touched, surgery::REWRITE_EVENTS).await;
        world.node.freshness.current().await.unwrap();
        assert_eq!(body().await, "after");
        world.send(&room, ALICE, "and on").await;
    });
}

#[test]
fn everything_is_read_again_if_it_is_unknown_what_is_affected() {
    run_on(Backend::Postgres, async |db| {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        world.join(&room, BOB).await;
        let bob = user(BOB);
        assert!(world.rooms.memberships.in_room(&bob, &room).await.unwrap().is_some());
        let store = &world.node.store;
        surgery::write_elsewhere(store, r#"[["state",["a","b"]]]"#, surgery::BOB_LEAVES).await;
        world.node.freshness.current().await.unwrap();
        let membership = world.rooms.memberships.in_room(&bob, &room).await.unwrap().unwrap();
        assert_eq!(membership.membership.as_str(), "leave");
        world.send(&room, ALICE, "and on").await;
    });
}
