//! The state of rooms: a client that applies the answers always ends up with the room's state.

use std::collections::BTreeMap;

use ruma::OwnedRoomId;
use serde_json::{Value, json};
use stoa_rooms::{VisibleState, pdu::Pdu, state::Part};
use stoa_testing::{both_databases, state_events};

use crate::{
    client::{Client, brief, joined},
    site::{Site, object, user_id},
};

/// A room's state as a client holds it: event IDs by type and state key.
type Held = BTreeMap<(String, String), String>;

/// Applies the news of a room as the specification tells clients to.
fn apply(held: &mut Held, news: &Value) {
    let mut lists = Vec::new();
    match news.get("state_after") {
        Some(after) => lists.push(after),
        None => lists.extend([&news["state"], &news["timeline"]]),
    }
    for event in lists.iter().flat_map(|list| list["events"].as_array().unwrap()) {
        if let Some(key) = event["state_key"].as_str() {
            let kind = event["type"].as_str().unwrap().to_owned();
            held.insert((kind, key.to_owned()), event["event_id"].as_str().unwrap().to_owned());
        }
    }
}

async fn current(site: &Site, room: &OwnedRoomId) -> Held {
    let room = site.room(room).await;
    let state = site.rooms.known.committed(&room).await.unwrap().state;
    let events = state_events(&site.rooms, VisibleState::unchecked(state), Part::All).await;
    let held = events.iter().map(|event| {
        let kind = event.pdu.event_type.to_string();
        let key = event.pdu.state_key.clone().unwrap();
        ((kind, key), event.pdu.event_id.to_string())
    });
    held.collect()
}

/// A state event by Alice that follows `prev`, as another server might send it.
async fn forked(site: &Site, room: &OwnedRoomId, prev: &str, topic: &str, ts: i64) -> Pdu {
    let room = site.room(room).await;
    let state = site.rooms.known.committed(&room).await.unwrap().state;
    let events = state_events(&site.rooms, VisibleState::unchecked(state), Part::All).await;
    let allowing = ["m.room.power_levels", "m.room.member", "m.room.create"];
    let auth: Vec<String> = events
        .iter()
        .filter(|event| allowing.contains(&event.pdu.event_type.to_string().as_str()))
        .filter(|event| {
            room.rules.event_format.allow_room_create_in_auth_events
                || event.pdu.event_type.to_string() != "m.room.create"
        })
        .map(|event| event.pdu.event_id.to_string())
        .collect();
    let pdu = json!({
        "room_id": room.id, "type": "m.room.topic", "sender": user_id("alice"), "state_key": "",
        "content": { "topic": topic, "v": topic }, "depth": 50, "origin_server_ts": ts,
        "prev_events": [prev], "auth_events": auth, "hashes": { "sha256": topic },
        "signatures": { "test": { "ed25519:1": "x" } },
    });
    Pdu::from_canonical(&object(pdu), &room.rules).unwrap()
}

both_databases! {
    async fn state_and_timeline_lead_to_the_current_state(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        for n in 0..30 {
            let key = format!("k{}", n % 7);
            site.set("alice", &room, "m.test", &key, json!({ "v": n })).await;
        }
        let answer = Client::new("alice").sync(&site).await;
        let mut held = Held::new();
        apply(&mut held, joined(&answer, &room));
        assert_eq!(held, current(&site, &room).await);
        // The state is the one at the start of the timeline.
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"])[0], "test/k6=20");
        assert!(brief(&news["state"]).contains(&"test/k6=13".to_owned()), "{news}");
    }

    async fn state_that_changed_in_a_gap_is_sent(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        site.set("alice", &room, "m.test", "twice", json!({ "v": 1 })).await;
        site.set("alice", &room, "m.test", "never", json!({ "v": 1 })).await;
        let filter = json!({ "room": { "timeline": { "limit": 2 } } });
        let mut alice = Client::with_filter("alice", filter);
        let mut held = Held::new();
        apply(&mut held, joined(&alice.sync(&site).await, &room));
        assert_eq!(held, current(&site, &room).await);

        site.set("alice", &room, "m.test", "before", json!({ "v": 2 })).await;
        site.set("alice", &room, "m.test", "twice", json!({ "v": 2 })).await;
        site.send("alice", &room, "message").await;
        site.set("alice", &room, "m.test", "twice", json!({ "v": 3 })).await;
        let answer = alice.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"]), ["message", "test/twice=3"]);
        assert_eq!(brief(&news["state"]), ["test/before=2", "test/twice=2"]);
        apply(&mut held, news);
        assert_eq!(held, current(&site, &room).await);
    }

    async fn state_that_the_filter_hides_from_the_timeline_is_sent(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] } } });
        let mut alice = Client::with_filter("alice", filter);
        let mut held = Held::new();
        apply(&mut held, joined(&alice.sync(&site).await, &room));
        site.set("alice", &room, "m.test", "", json!({ "v": 2 })).await;
        site.send("alice", &room, "message").await;
        site.join("bob", &room).await;
        let answer = alice.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"]), ["message"]);
        assert_eq!(brief(&news["state"]), ["test=2", "bob:join"]);
        apply(&mut held, news);
        assert_eq!(held, current(&site, &room).await);
    }

    async fn the_state_at_the_end_can_be_requested(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        site.set("alice", &room, "m.test", "", json!({ "v": 1 })).await;
        let mut alice = Client { use_state_after: true, ..Client::new("alice") };
        let answer = alice.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(news["state"], json!(null));
        let mut held = Held::new();
        apply(&mut held, news);
        assert_eq!(held, current(&site, &room).await);

        site.set("alice", &room, "m.test", "", json!({ "v": 2 })).await;
        site.set("alice", &room, "m.test", "", json!({ "v": 3 })).await;
        let answer = alice.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"]), ["test=2", "test=3"]);
        assert_eq!(brief(&news["state_after"]), ["test=3"]);

        site.send("alice", &room, "message").await;
        let answer = alice.sync(&site).await;
        assert_eq!(joined(&answer, &room)["state_after"], json!({ "events": [] }));
    }

    async fn the_full_state_can_be_requested(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        site.send("alice", &room, "message").await;
        let mut full = Client { full_state: true, ..alice };
        let answer = full.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"]), ["message"]);
        let mut held = Held::new();
        apply(&mut held, news);
        assert_eq!(held, current(&site, &room).await);
        // This also holds if there is no news.
        let answer = full.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &room)["state"]).len(), 6);
        assert_eq!(joined(&answer, &room)["timeline"]["events"], json!([]));
        assert_eq!(joined(&answer, &room)["timeline"]["limited"], false);
    }

    async fn a_fork_that_lost_does_not_mislead_clients(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let filter = json!({ "room": { "timeline": { "limit": 50 } } });
        let mut alice = Client::with_filter("alice", filter.clone());
        let mut after = Client { use_state_after: true, ..alice.clone() };
        let mut held = Held::new();
        let mut held_after = Held::new();
        let base = site.send("alice", &room, "base").await;
        apply(&mut held, joined(&alice.sync(&site).await, &room));
        apply(&mut held_after, joined(&after.sync(&site).await, &room));

        // The later topic wins, and arrives first.
        let winner = forked(&site, &room, base.as_str(), "winner", 2_000_000_000_000).await;
        let loser = forked(&site, &room, base.as_str(), "loser", 1_000_000_000_000).await;
        let entered = site.room(&room).await;
        site.rooms.receiving.event(&entered, winner.clone()).await.unwrap();
        site.rooms.receiving.event(&entered, loser).await.unwrap();
        site.send("alice", &room, "on top").await;
        let present = current(&site, &room).await;
        let topic = ("m.room.topic".to_owned(), String::new());
        assert_eq!(present[&topic], winner.event_id.as_str());

        let answer = alice.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"]), ["on top"]);
        assert_eq!(news["timeline"]["limited"], true);
        assert_eq!(brief(&news["state"]), ["topic=\"winner\""]);
        apply(&mut held, news);
        assert_eq!(held, present);

        let answer = after.sync(&site).await;
        let news = joined(&answer, &room);
        assert_eq!(brief(&news["timeline"]), ["topic=\"winner\"", "topic=\"loser\"", "on top"]);
        apply(&mut held_after, news);
        assert_eq!(held_after, present);

        let mut fresh = Held::new();
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        apply(&mut fresh, joined(&answer, &room));
        assert_eq!(fresh, present);
    }
}
