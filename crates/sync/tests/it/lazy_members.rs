//! Lazy-loaded members.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members>

use ruma::OwnedRoomId;
use serde_json::{Value, json};
use stoa_rooms::MembershipChange;
use stoa_testing::both_databases;

use crate::{
    client::{Client, brief, joined},
    site::{Site, object},
};

/// A room with a name and ten members, of whom only one has sent messages.
async fn crowd(site: &Site) -> OwnedRoomId {
    let id = site.create_with("alice", |create| create.name = Some("crowd".to_owned())).await;
    for n in 0..9 {
        site.join(&format!("u{n}"), &id).await;
    }
    for n in 0..3 {
        site.send("u1", &id, &format!("m{n}")).await;
    }
    id
}

fn members(news: &Value) -> Vec<String> {
    let mut members = brief(&news["state"]);
    members.retain(|entry| entry.ends_with(":join") || entry.ends_with(":leave"));
    members.sort();
    members
}

fn lazy(limit: u32) -> Value {
    json!({ "room": { "state": { "lazy_load_members": true }, "timeline": { "limit": limit } } })
}

both_databases! {
    async fn only_senders_and_the_reader_are_sent(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client::with_filter("alice", lazy(3));
        let answer = alice.sync(&site).await;
        assert_eq!(members(joined(&answer, &id)), ["alice:join", "u1:join"]);
        assert!(brief(&joined(&answer, &id)["state"]).contains(&"name".to_owned()));

        // Members who are known are not sent again; others are.
        site.send("u1", &id, "again").await;
        site.send("u2", &id, "hello").await;
        let answer = alice.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["state"]), ["u2:join"]);
        site.send("u2", &id, "again").await;
        let answer = alice.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["state"]), Vec::<String>::new());
    }

    async fn members_of_a_lost_answer_are_sent_again(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client::with_filter("alice", lazy(3));
        alice.sync(&site).await;
        site.send("u2", &id, "hello").await;
        let before = alice.since;
        alice.sync(&site).await;
        alice.since = before;
        site.send("u3", &id, "hello").await;
        let answer = alice.sync(&site).await;
        assert_eq!(members(joined(&answer, &id)), ["u2:join", "u3:join"]);
    }

    async fn an_answer_that_failed_makes_no_members_known(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client::with_filter("alice", lazy(1));
        alice.sync(&site).await;
        site.send("u2", &id, &"x".repeat(60_000)).await;
        // The events fit into the limit, but their serialized form no longer does.
        assert!(!alice.fits(&site, 150_000).await);
        site.send("u3", &id, "hello").await;
        assert_eq!(members(joined(&alice.sync(&site).await, &id)), ["u3:join"]);
        site.send("u2", &id, "again").await;
        assert_eq!(members(joined(&alice.sync(&site).await, &id)), ["u2:join"]);
    }

    async fn a_lost_answer_makes_no_members_known(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client::with_filter("alice", lazy(1));
        alice.sync(&site).await;
        site.send("u2", &id, "hello").await;
        alice.clone().sync(&site).await;
        site.send("u3", &id, "hello").await;
        assert_eq!(members(joined(&alice.sync(&site).await, &id)), ["u3:join"]);
        site.send("u2", &id, "again").await;
        assert_eq!(members(joined(&alice.sync(&site).await, &id)), ["u2:join"]);
    }

    async fn an_answer_without_rooms_does_not_confirm_a_lost_one(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client::with_filter("alice", lazy(1));
        alice.sync(&site).await;
        site.send("u2", &id, "hello").await;
        alice.clone().sync(&site).await;
        let mut no_rooms = Client::with_filter("alice", json!({ "room": { "rooms": [] } }));
        no_rooms.since = alice.since;
        assert_eq!(no_rooms.sync(&site).await["rooms"], Value::Null);
        alice.since = no_rooms.since;
        site.send("u2", &id, "again").await;
        assert_eq!(members(joined(&alice.sync(&site).await, &id)), ["u2:join"]);
    }

    async fn members_can_be_sent_redundantly(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut filter = lazy(3);
        filter["room"]["state"]["include_redundant_members"] = json!(true);
        let mut alice = Client::with_filter("alice", filter);
        alice.sync(&site).await;
        site.send("u1", &id, "again").await;
        let answer = alice.sync(&site).await;
        assert_eq!(members(joined(&answer, &id)), ["u1:join"]);
    }

    async fn members_that_changed_in_a_gap_are_sent(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client::with_filter("alice", lazy(1));
        alice.sync(&site).await;
        site.change("u5", &id, MembershipChange::Leave).await;
        let content = object(json!({ "v": "new" }));
        site.change("u1", &id, MembershipChange::Join(content)).await;
        site.send("u1", &id, "again").await;
        let answer = alice.sync(&site).await;
        let news = joined(&answer, &id);
        assert_eq!(brief(&news["timeline"]), ["again"]);
        assert_eq!(members(news), ["u1:join", "u5:leave"]);
    }

    async fn a_user_who_rejoins_is_sent_the_senders_again(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut bob = Client::with_filter("u0", lazy(1));
        bob.sync(&site).await;
        site.send("u5", &id, "hello").await;
        assert_eq!(members(joined(&bob.sync(&site).await, &id)), ["u5:join"]);
        site.change("u0", &id, MembershipChange::Leave).await;
        bob.sync(&site).await;
        // A device may drop what it has of a room that the user left.
        site.join("u0", &id).await;
        bob.sync(&site).await;
        site.send("u5", &id, "again").await;
        assert_eq!(members(joined(&bob.sync(&site).await, &id)), ["u5:join"]);
        site.send("u5", &id, "and again").await;
        assert_eq!(members(joined(&bob.sync(&site).await, &id)), Vec::<String>::new());
    }

    async fn changed_members_are_sent_with_the_full_state_too(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut reader = Client::with_filter("u0", lazy(1));
        reader.sync(&site).await;
        site.send("u5", &id, "hello").await;
        reader.sync(&site).await;
        let renamed = || MembershipChange::Join(object(json!({ "v": "renamed" })));
        site.change("u5", &id, renamed()).await;
        site.send("u1", &id, "newest").await;
        let whole = Client { full_state: true, ..reader.clone() }.sync(&site).await;
        assert_eq!(members(joined(&whole, &id)), ["u0:join", "u1:join", "u5:join"]);

        site.change("u0", &id, MembershipChange::Leave).await;
        site.join("u0", &id).await;
        site.send("u1", &id, "newest").await;
        let anew = reader.sync(&site).await;
        assert_eq!(members(joined(&anew, &id)), ["u0:join", "u1:join", "u5:join"]);
    }

    async fn the_heroes_are_sent(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        for n in 0..9 {
            site.join(&format!("u{n}"), &id).await;
        }
        for n in 0..5 {
            site.send("u8", &id, &format!("m{n}")).await;
        }
        let answer = Client::with_filter("u0", lazy(5)).sync(&site).await;
        let news = joined(&answer, &id);
        let heroes = ["@alice:test", "@u1:test", "@u2:test", "@u3:test", "@u4:test"];
        assert_eq!(news["summary"]["m.heroes"], json!(heroes));
        let expected = ["alice", "u0", "u1", "u2", "u3", "u4", "u8"];
        assert_eq!(members(news), expected.map(|user| format!("{user}:join")));
    }

    async fn the_state_at_the_end_contains_changed_members(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = crowd(&site).await;
        let mut alice = Client { use_state_after: true, ..Client::with_filter("alice", lazy(10)) };
        alice.sync(&site).await;
        site.change("u5", &id, MembershipChange::Leave).await;
        let answer = alice.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["state_after"]), ["u5:leave"]);
    }
}
