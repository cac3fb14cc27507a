//! Several servers on one database, and servers that are restarted or restored.

use std::time::Duration;

use ruma::user_id;
use serde_json::Value;
use stoa_base::{Clock, ManualClock};
use stoa_testing::{
    Backend, TestClient, TestDatabase, TestServer, both_databases, run_on, surgery,
};

/// How long to wait for what a server does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

async fn sync(client: &TestClient, since: &str) -> Value {
    client.get(&format!("/_matrix/client/v3/sync?since={since}")).await.ok()
}

fn token(answer: &Value) -> String {
    answer["next_batch"].as_str().expect("a token").to_owned()
}

/// What the events of a room's section say, in order.
fn bodies(answer: &Value, room: &str) -> Vec<String> {
    let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array();
    let bodies = events.into_iter().flatten().filter_map(|event| event["content"]["body"].as_str());
    bodies.map(ToOwned::to_owned).collect()
}

both_databases! {
    async fn after_a_restore_clients_get_everything_and_miss_nothing_new(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        alice.send(&room, "kept").await;
        let kept = token(&alice.get("/_matrix/client/v3/sync").await.ok());
        let session = alice.token().expect("a token").to_owned();
        drop(alice);
        server.stop().await;
        db.back_up().await;

        let server = TestServer::start(db).await;
        let alice = server.client().with_token(&session);
        assert_eq!(bodies(&sync(&alice, &kept).await, &room), [""; 0], "a restart is no restore");
        for number in 0..20 {
            alice.send(&room, &format!("taken away {number}")).await;
        }
        let taken_away = token(&sync(&alice, &kept).await);
        drop(alice);
        server.stop().await;
        db.restore().await;

        let server = TestServer::start(db).await;
        let alice = server.client().with_token(&session);
        alice.send(&room, "new").await;
        let answer = sync(&alice, &taken_away).await;
        assert_eq!(bodies(&answer, &room), ["kept", "new"], "everything anew: {answer}");
        let state = answer["rooms"]["join"][&room]["timeline"]["events"].as_array();
        assert!(state.is_some_and(|events| events.iter().any(|event| event["type"] == "m.room.create")));
        assert_eq!(bodies(&sync(&alice, &kept).await, &room), ["new"]);

        alice.send(&room, "newer").await;
        assert_eq!(bodies(&sync(&alice, &token(&answer)).await, &room), ["newer"]);
        // Again after a restart, with nothing in memory.
        drop(alice);
        server.stop().await;
        let server = TestServer::start(db).await;
        let alice = server.client().with_token(&session);
        assert_eq!(bodies(&sync(&alice, &taken_away).await, &room), ["kept", "new", "newer"]);
    }

    async fn a_token_never_given_out_counts_as_missing(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        alice.send(&room, "hello").await;
        let unknown = format!("s1.{}.0.0.0.1&timeout=30000", i64::MAX);
        assert_eq!(bodies(&sync(&alice, &unknown).await, &room), ["hello"]);
    }

    async fn the_log_is_pruned_as_it_ages(db: TestDatabase) {
        let clock = ManualClock::at(1_700_000_000_000);
        let server = TestServer::start_with(db, |_, environment| {
            environment.clock = Clock::from(clock.clone());
        }).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        for number in 0..5 {
            alice.send(&room, &format!("message {number}")).await;
        }
        server.state().housekeep().await;
        assert!(surgery::batch_count(&server.state().store).await > 5);
        clock.advance(Duration::from_secs(2 * 3_600));
        server.state().housekeep().await;
        // The jump at the start, and the last batch of this run.
        assert_eq!(surgery::batch_count(&server.state().store).await, 2);
        // A client that continues from an earlier token misses nothing.
        assert_eq!(bodies(&sync(&alice, "s1.0.0.0.0.1").await, &room).len(), 5);
    }
}

#[test]
fn one_node_prunes_the_log_at_a_time() {
    run_on(Backend::Postgres, async |db| {
        let clock = ManualClock::at(1_700_000_000_000);
        let first = TestServer::start(db).await;
        let second = TestServer::start_with(db, |_, environment| {
            environment.clock = Clock::from(clock.clone());
        })
        .await;
        let alice = second.register("alice").await;
        let room = alice.create_public_room().await;
        alice.send(&room, "hello").await;
        clock.advance(Duration::from_secs(2 * 3_600));
        let before = surgery::batch_count(&second.state().store).await;

        let ttl = Duration::from_secs(30);
        let held = first.state().leases.acquire("pruning", ttl).await.expect("a lease");
        second.state().housekeep().await;
        assert_eq!(surgery::batch_count(&second.state().store).await, before);
        // Its leases are released when it stops.
        std::mem::forget(held);
        first.stop().await;
        second.state().housekeep().await;
        assert!(surgery::batch_count(&second.state().store).await < before);
    });
}

async fn limited(db: &TestDatabase) -> TestServer {
    TestServer::start_with(db, |config, _| config.limits.enabled = true).await
}

#[test]
fn nodes_share_the_rates() {
    run_on(Backend::Postgres, async |db| {
        let first = limited(db).await;
        assert_eq!(first.state().nodes.live(), 1);
        let second = limited(db).await;
        assert_eq!(second.state().nodes.live(), 2);
        assert_eq!(second.messages_allowed(user_id!("@mallory:test")), 50, "half of the burst");

        // The first node notices it by itself.
        let started = tokio::time::Instant::now();
        while first.state().nodes.live() != 2 {
            assert!(started.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let third = limited(db).await;
        assert_eq!(third.messages_allowed(user_id!("@mallory:test")), 33);
        third.stop().await;
        assert_eq!(second.state().nodes.beat().await.expect("a count"), 2, "it has left");
    });
}

#[test]
fn nodes_that_vanished_are_not_counted() {
    run_on(Backend::Postgres, async |db| {
        let server = TestServer::start(db).await;
        let store = &server.state().store;
        for (incarnation, silent_ms) in [(1, 10_000), (2, 30_000), (3, 4_000_000)] {
            surgery::note_silent_node(store, incarnation, silent_ms).await;
        }
        assert_eq!(server.state().nodes.beat().await.expect("a count"), 2);

        server.state().housekeep().await;
        let noted = surgery::noted_nodes(store).await;
        assert_eq!((noted.len(), &noted[..2]), (3, &[1, 2][..]), "and this one");
    });
}

#[test]
fn a_node_on_sqlite_is_alone() {
    run_on(Backend::Sqlite, async |db| {
        let server = limited(db).await;
        assert_eq!(server.state().nodes.beat().await.expect("a count"), 1);
        assert_eq!(server.messages_allowed(user_id!("@mallory:test")), 100);
    });
}

both_databases! {
    async fn numbers_that_were_drawn_are_given_up_with_a_log_that_was_lost(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let state = server.state();
        state.writer.append(stoa_storage::log::Append::new()).await.expect("an append");
        let drawn = state.nids.take(1).await.expect("a number");
        surgery::lose_log_after(&state.store, stoa_base::Pos::START).await;
        state.tailer.catch_up().await.expect("the log");
        let next = state.nids.take(1).await.expect("a number");
        assert!(next.start > drawn.end + 1_000_000, "{next:?} may have been drawn again");
    }
}
