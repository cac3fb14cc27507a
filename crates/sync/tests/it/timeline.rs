//! The timelines of rooms.

use serde_json::json;
use stoa_base::Allowance;
use stoa_rooms::{
    Preset, Transaction,
    tokens::{PaginationToken, RoomToken},
};
use stoa_storage::repo::events::Order;
use stoa_testing::both_databases;

use crate::{
    client::{self, Client, brief, is_empty, joined},
    site::{Site, object},
};

both_databases! {
    async fn a_timeline_is_limited_in_bytes(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let filter = json!({ "room": { "timeline": { "limit": 100 } } });
        let mut alice = Client::with_filter("alice", filter);
        alice.sync(&site).await;
        let text = "x".repeat(60_000);
        for n in 0..20 {
            site.send("alice", &room, &format!("{n} {text}")).await;
        }
        let answer = alice.sync(&site).await;
        let timeline = &joined(&answer, &room)["timeline"];
        let told: Vec<String> =
            brief(timeline).iter().map(|body| body.replace('x', "").trim().to_owned()).collect();
        let newest: Vec<String> = (3..20).map(|n| n.to_string()).collect();
        assert_eq!(told, newest, "a megabyte");
        assert_eq!(timeline["limited"], true);
        // The older events are before `prev_batch`.
        let from: RoomToken = timeline["prev_batch"].as_str().unwrap().parse().unwrap();
        let room = site.room(&room).await;
        let any = Allowance::unlimited();
        let before = site.rooms.timelines.unchecked_before(&room, from.order(), Order::START, 3, &any).await.unwrap();
        let contents: Vec<_> = before.events.iter().map(|event| event.pdu.content.get()).collect();
        for (content, n) in contents.iter().zip(["2", "1", "0"]) {
            assert!(content.contains(&format!("\"{n} xxx")), "{n}");
        }
        assert_eq!(contents.len(), 3);
    }

    /// This holds however many events are asked for.
    async fn no_more_is_read_than_fits_into_a_timeline(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let filter = json!({ "room": { "timeline": { "limit": 200 } } });
        let mut alice = Client::with_filter("alice", filter);
        alice.sync(&site).await;
        let text = "x".repeat(60_000);
        for _ in 0..200 {
            site.send("alice", &room, &text).await;
        }
        // All events take 24 megabytes; those that are sent take three.
        assert!(alice.fits(&site, 12 << 20).await);
        assert!(!alice.fits(&site, 2 << 20).await);
    }

    async fn no_more_is_read_of_several_rooms_than_fits_into_their_timelines(db: TestDatabase) {
        let site = Site::start(db).await;
        let rooms = [site.create("alice").await, site.create("alice").await];
        let filter = json!({ "room": { "timeline": { "limit": 100 } } });
        let mut alice = Client::with_filter("alice", filter);
        alice.sync(&site).await;
        let text = "x".repeat(60_000);
        for room in &rooms {
            for n in 0..100 {
                site.send("alice", room, &format!("{n} {text}")).await;
            }
        }
        // All events take 24 megabytes.
        assert!(alice.fits(&site, 20 << 20).await);
        let answer = alice.sync(&site).await;
        for room in &rooms {
            let timeline = &joined(&answer, room)["timeline"];
            let told = brief(timeline);
            assert!(told.len() < 20 && told.last().unwrap().starts_with("99 "));
            assert_eq!(timeline["limited"], true);
        }
    }

    /// Ten events take 1.2 megabytes, and their serialized form takes 0.6.
    async fn serialized_events_count_in_either_format(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let text = "x".repeat(60_000);
        for _ in 0..10 {
            site.send("alice", &room, &text).await;
        }
        for format in ["client", "federation"] {
            let filter = json!({ "event_format": format, "room": { "state": { "limit": 0 } } });
            let alice = Client::with_filter("alice", filter);
            assert!(!alice.fits(&site, 1_500_000).await, "{format}");
            assert!(alice.fits(&site, 2_500_000).await, "{format}");
        }
    }

    /// Ten events with redactions, which take 1.2 megabytes in memory and 0.6 in serialized form.
    async fn redactions_count_with_the_events_that_they_redact(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        for n in 0..10 {
            let event = site.set("alice", &room, "m.test", &n.to_string(), json!({})).await;
            site.redact("alice", &room, &event, &"x".repeat(60_000)).await;
        }
        // The redactions themselves are not sent.
        site.send("alice", &room, "newest").await;
        let alice = Client::with_filter("alice", json!({ "room": { "timeline": { "limit": 1 } } }));
        assert!(!alice.fits(&site, 1_000_000).await, "read");
        assert!(!alice.fits(&site, 1_500_000).await, "and serialized");
        assert!(alice.fits(&site, 2_500_000).await);
    }

    async fn an_initial_sync_has_the_newest_events(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let mut alice = Client::new("alice");
        let small = alice.sync(&site).await;
        let timeline = &joined(&small, &room)["timeline"];
        assert_eq!(timeline["limited"], false);
        assert_eq!(brief(timeline)[0], "create");
        assert_eq!(brief(timeline).len(), 6);
        assert_eq!(joined(&small, &room)["state"], json!({ "events": [] }));

        for n in 0..12 {
            site.send("alice", &room, &format!("m{n}")).await;
        }
        let large = Client::new("alice").sync(&site).await;
        let timeline = &joined(&large, &room)["timeline"];
        assert_eq!(timeline["limited"], true);
        let newest: Vec<String> = (2..12).map(|n| format!("m{n}")).collect();
        assert_eq!(brief(timeline), newest);
        // The older events are found before `prev_batch`.
        let from: RoomToken = timeline["prev_batch"].as_str().unwrap().parse().unwrap();
        let room = site.room(&room).await;
        let until = PaginationToken::after(Order::START).0;
        let any = Allowance::unlimited();
        let before = site.rooms.timelines.unchecked_before(&room, from.order(), until, 2, &any).await.unwrap();
        let bodies: Vec<_> = before.events.iter().map(|event| event.pdu.content.get()).collect();
        assert!(bodies[0].contains("m1") && bodies[1].contains("m0"), "{bodies:?}");
    }

    async fn no_event_is_skipped_or_sent_twice(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let nothing = alice.sync(&site).await;
        assert!(is_empty(&nothing), "{nothing}");
        for n in 0..5 {
            site.send("alice", &room, &format!("a{n}")).await;
            site.send("alice", &room, &format!("b{n}")).await;
            let news = alice.sync(&site).await;
            let timeline = &joined(&news, &room)["timeline"];
            assert_eq!(brief(timeline), [format!("a{n}"), format!("b{n}")]);
            assert_eq!(timeline["limited"], false);
            assert_eq!(joined(&news, &room)["state"], json!({ "events": [] }));
            assert_eq!(joined(&news, &room)["summary"], json!(null));
        }
        assert!(is_empty(&alice.sync(&site).await));
    }

    async fn the_client_is_told_of_a_gap_and_can_fill_it(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        let mut alice = Client::with_filter("alice", json!({ "room": { "timeline": { "limit": 3 } } }));
        alice.sync(&site).await;
        let since = alice.since.unwrap();
        for n in 0..8 {
            site.send("alice", &room, &format!("m{n}")).await;
        }
        let news = alice.sync(&site).await;
        let timeline = &joined(&news, &room)["timeline"];
        assert_eq!(brief(timeline), ["m5", "m6", "m7"]);
        assert_eq!(timeline["limited"], true);
        let start: PaginationToken = timeline["prev_batch"].as_str().unwrap().parse().unwrap();
        let room = site.room(&room).await;
        let any = Allowance::unlimited();
        let gap = site
            .rooms
            .timelines.unchecked_after(&room, RoomToken::Sync(since).order(), start.0, 100, &any)
            .await
            .unwrap();
        assert_eq!(gap.events.len(), 5, "m0 to m4");
    }

    async fn each_event_contains_the_readers_membership_at_it(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        site.send("alice", &room, "before").await;
        site.join("bob", &room).await;
        site.send("alice", &room, "after").await;
        let answer = Client::new("bob").sync(&site).await;
        let timeline = &joined(&answer, &room)["timeline"];
        let memberships: Vec<&str> = timeline["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["unsigned"]["membership"].as_str().unwrap())
            .collect();
        let names = brief(timeline);
        assert_eq!(&names[6..], ["before", "bob:join", "after"]);
        assert_eq!(memberships, ["leave", "leave", "leave", "leave", "leave", "leave", "leave", "join", "join"]);
        assert_eq!(timeline["events"][8]["room_id"], json!(null));
    }

    async fn only_the_sending_device_gets_the_transaction_id(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        site.join("bob", &room).await;
        let mut phone = Client::new("alice");
        let mut bob = Client::new("bob");
        phone.sync(&site).await;
        bob.sync(&site).await;
        let endpoint = "/send !r m.room.message";
        let transaction =
            Transaction::new(client::phone("alice"), endpoint, "txn 1".into()).unwrap();
        site.send_from("alice", &room, "mine", Some(transaction)).await;
        let mine = phone.sync(&site).await;
        let event = &joined(&mine, &room)["timeline"]["events"][0];
        assert_eq!(event["unsigned"]["transaction_id"], "txn 1");
        let his = bob.sync(&site).await;
        let event = &joined(&his, &room)["timeline"]["events"][0];
        assert_eq!(event["content"]["body"], "mine");
        assert_eq!(event["unsigned"]["transaction_id"], json!(null));
    }

    async fn hidden_history_is_not_shown(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site
            .create_with("alice", |create| {
                let joined = object(json!({ "history_visibility": "joined" }));
                let kind = "m.room.history_visibility".into();
                create.initial_state.push((kind, String::new(), joined));
            })
            .await;
        for n in 0..20 {
            site.send("alice", &room, &format!("secret {n}")).await;
        }
        site.join("bob", &room).await;
        site.send("alice", &room, "public").await;
        let answer = Client::new("bob").sync(&site).await;
        let room_news = joined(&answer, &room);
        let shown = brief(&room_news["timeline"]);
        // Events from before the history was hidden are visible, and the timeline reaches back to
        // them.
        assert_eq!(shown[..2], ["create", "alice:join"]);
        assert_eq!(shown[5..], ["history_visibility", "bob:join", "public"]);
        assert_eq!(room_news["timeline"]["limited"], false);
    }

    async fn a_filtered_timeline_reaches_further_back(db: TestDatabase) {
        let site = Site::start(db).await;
        let room = site.create("alice").await;
        site.send("alice", &room, "wanted").await;
        for n in 0..30 {
            site.set("alice", &room, "m.test", "", json!({ "v": n })).await;
        }
        let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] } } });
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        let room_news = joined(&answer, &room);
        assert_eq!(brief(&room_news["timeline"]), ["wanted"]);
        assert_eq!(room_news["timeline"]["limited"], false);
        // The state that the filter excludes from the timeline is sent.
        assert!(brief(&room_news["state"]).contains(&"test=29".to_owned()));
    }

    async fn a_private_room_is_not_shown_to_others(db: TestDatabase) {
        let site = Site::start(db).await;
        site.create_with("alice", |create| create.preset = Preset::PrivateChat).await;
        assert_eq!(Client::new("bob").sync(&site).await["rooms"], json!(null));
    }
}
