//! Waiting for news.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use stoa_rooms::MembershipChange;
use stoa_testing::both_databases;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    client::{Client, brief, is_empty, joined, room},
    site::{Site, user_id},
};

const LONG: Duration = Duration::from_secs(20);

/// Waits for news in a separate task.
async fn waiting(site: &Arc<Site>, client: &Client) -> JoinHandle<(Client, serde_json::Value)> {
    let (site, mut client) = (Arc::clone(site), client.clone());
    let before = site.node.waiters.len();
    let waiters = site.node.waiters.clone();
    let waiting = tokio::spawn(async move {
        let answer = client.wait(&site, LONG).await;
        (client, answer)
    });
    while waiters.len() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiting
}

both_databases! {
    async fn a_message_ends_the_wait(db: TestDatabase) {
        let site = Arc::new(Site::start(db).await);
        let id = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let waiter = waiting(&site, &alice).await;
        site.send("alice", &id, "hello").await;
        let (_, answer) = waiter.await.unwrap();
        assert_eq!(brief(&joined(&answer, &id)["timeline"]), ["hello"]);
        assert!(site.node.waiters.is_empty());
    }

    async fn filtered_events_do_not_end_the_wait(db: TestDatabase) {
        let site = Arc::new(Site::start(db).await);
        let id = site.create("alice").await;
        let other = site.create("bob").await;
        let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] } } });
        let mut alice = Client::with_filter("alice", filter);
        alice.sync(&site).await;
        let waiter = waiting(&site, &alice).await;
        site.send("bob", &other, "not for her").await;
        let sticker = site.room(&id).await;
        let actor = crate::site::actor("alice");
        let content = crate::site::object(json!({}));
        site.rooms
            .sending.send_message(&actor, None, &sticker, "m.sticker".into(), content, None)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiter.is_finished());
        site.send("alice", &id, "at last").await;
        let (_, answer) = waiter.await.unwrap();
        assert_eq!(brief(&joined(&answer, &id)["timeline"]), ["at last"]);
    }

    async fn an_invite_ends_the_wait_and_the_next_one_covers_the_new_room(db: TestDatabase) {
        let site = Arc::new(Site::start(db).await);
        let id = site.create("alice").await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        let waiter = waiting(&site, &bob).await;
        site.change("alice", &id, MembershipChange::Invite(user_id("bob"))).await;
        let (bob, answer) = waiter.await.unwrap();
        assert!(room(&answer, "invite", &id).is_object());

        // Bob joins while waiting with a filter that hides the join.
        let filter = json!({ "room": {
            "timeline": { "types": ["m.room.message"] }, "rooms": [id], "state": { "types": [] },
        } });
        let filtered = Client { since: bob.since, ..Client::with_filter("bob", filter) };
        let waiter = waiting(&site, &filtered).await;
        site.join("bob", &id).await;
        let (bob, answer) = waiter.await.unwrap();
        assert!(joined(&answer, &id).is_object());
        let waiter = waiting(&site, &bob).await;
        site.send("alice", &id, "welcome").await;
        let (_, answer) = waiter.await.unwrap();
        assert_eq!(brief(&joined(&answer, &id)["timeline"]), ["welcome"]);
    }

    async fn a_wait_times_out(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let before = alice.since;
        let began = Instant::now();
        let answer = alice.wait(&site, Duration::from_millis(80)).await;
        assert!(is_empty(&answer));
        assert!(began.elapsed() >= Duration::from_millis(80));
        // A request for everything does not wait.
        let began = Instant::now();
        let mut full = Client { full_state: true, since: before, ..Client::new("alice") };
        assert!(joined(&full.wait(&site, LONG).await, &id).is_object());
        assert!(began.elapsed() < LONG);
    }

    async fn a_stopping_server_ends_the_wait(db: TestDatabase) {
        let site = Arc::new(Site::start(db).await);
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let waiter = waiting(&site, &alice).await;
        site.stopping.cancel();
        let (_, answer) = waiter.await.unwrap();
        assert!(is_empty(&answer));
    }

    async fn many_clients_can_wait_for_one_room(db: TestDatabase) {
        let site = Arc::new(Site::start(db).await);
        let id = site.create("alice").await;
        let mut clients = Vec::new();
        for n in 0..30 {
            let name = format!("u{n}");
            site.join(&name, &id).await;
            clients.push(Client::new(&name));
        }
        for client in &mut clients {
            client.sync(&site).await;
        }
        let mut waiters = Vec::new();
        for client in &clients {
            waiters.push(waiting(&site, client).await);
        }
        site.send("alice", &id, "to all").await;
        for waiter in waiters {
            let (_, answer) = waiter.await.unwrap();
            assert_eq!(brief(&joined(&answer, &id)["timeline"]), ["to all"]);
        }
    }
}
