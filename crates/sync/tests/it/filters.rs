//! Filters in a sync.

use ruma::OwnedRoomId;
use serde_json::{Value, json};
use stoa_base::Allowance;
use stoa_rooms::MembershipChange;
use stoa_testing::both_databases;

use crate::{
    client::{Client, brief, is_empty, joined},
    site::{Site, user_id},
};

async fn timeline_with(site: &Site, id: &OwnedRoomId, filter: Value) -> Vec<String> {
    let filter = json!({ "room": { "timeline": filter } });
    let answer = Client::with_filter("alice", filter).sync(site).await;
    brief(&joined(&answer, id)["timeline"])
}

both_databases! {
    async fn rooms_can_be_filtered(db: TestDatabase) {
        let site = Site::start(db).await;
        let one = site.create("alice").await;
        let other = site.create("alice").await;
        let invited = site.create("bob").await;
        site.change("bob", &invited, MembershipChange::Invite(user_id("alice"))).await;
        let filter = json!({ "room": { "rooms": [one] } });
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().keys().collect::<Vec<_>>(), [one.as_str()]);
        assert_eq!(answer["rooms"]["invite"], json!(null));
        let filter = json!({ "room": { "not_rooms": [one] } });
        let mut client = Client::with_filter("alice", filter);
        let answer = client.sync(&site).await;
        assert!(joined(&answer, &one).is_null() && joined(&answer, &other).is_object());
        site.send("alice", &one, "unheard").await;
        assert!(is_empty(&client.sync(&site).await));
    }

    async fn timeline_events_can_be_filtered(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        site.send("alice", &id, "hers").await;
        site.send("bob", &id, "his").await;
        site.set("alice", &id, "m.test", "", json!({ "v": 1, "url": "mxc://test/1" })).await;
        let of_bob = json!({ "senders": [user_id("bob")], "types": ["m.room.*"] });
        assert_eq!(timeline_with(&site, &id, of_bob).await, ["bob:join", "his"]);
        let not_bob = json!({ "not_senders": [user_id("bob")], "types": ["m.room.message"] });
        assert_eq!(timeline_with(&site, &id, not_bob).await, ["hers"]);
        assert_eq!(timeline_with(&site, &id, json!({ "contains_url": true })).await, ["test=1"]);
        let without = json!({ "contains_url": false, "limit": 1 });
        assert_eq!(timeline_with(&site, &id, without).await, ["his"]);
        assert_eq!(timeline_with(&site, &id, json!({ "types": [] })).await, Vec::<String>::new());
        let elsewhere = json!({ "not_rooms": [id] });
        assert_eq!(timeline_with(&site, &id, elsewhere).await, Vec::<String>::new());
    }

    async fn state_can_be_filtered(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let filter = json!({
            "room": { "state": { "types": ["m.room.create"] }, "timeline": { "limit": 1 } },
        });
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["state"]), ["create"]);
        let filter = json!({
            "room": { "state": { "types": [] }, "timeline": { "types": ["m.room.message"] } },
        });
        let mut client = Client::with_filter("alice", filter);
        client.sync(&site).await;
        site.set("alice", &id, "m.test", "", json!({ "v": 1 })).await;
        let answer = client.sync(&site).await;
        assert!(is_empty(&answer), "{answer}");
    }

    async fn the_timeline_can_be_left_out(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let filter = json!({ "room": { "timeline": { "limit": 0 } } });
        let mut client = Client::with_filter("alice", filter);
        let answer = client.sync(&site).await;
        assert_eq!(joined(&answer, &id)["timeline"]["events"], json!([]));
        assert_eq!(joined(&answer, &id)["timeline"]["limited"], true);
        assert_eq!(brief(&joined(&answer, &id)["state"]).len(), 6);
        site.set("alice", &id, "m.test", "", json!({ "v": 1 })).await;
        let answer = client.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["state"]), ["test=1"]);
    }

    async fn events_can_be_requested_in_the_federation_format(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let filter = json!({ "event_format": "federation" });
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        let create = &joined(&answer, &id)["timeline"]["events"][0];
        assert!(create["hashes"].is_object() && create["prev_events"].is_array(), "{create}");
    }

    async fn the_size_of_an_answer_is_counted_in_either_format(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        for _ in 0..5 {
            site.send("alice", &id, &"x".repeat(20_000)).await;
        }
        let taken = async |format: &str| {
            let mut client = Client::with_filter("alice", json!({ "event_format": format }));
            let allowance = Allowance::new(1 << 30);
            client.reader = client.reader.within(allowance.clone());
            client.sync(&site).await;
            (1 << 30) - allowance.left()
        };
        // The same events are read, and they are longer in the federation format.
        let (client, federation) = (taken("client").await, taken("federation").await);
        assert!(client > 100_000 && federation > client, "{client} and {federation} bytes");
    }

    async fn the_default_push_rules_come_with_the_first_sync(db: TestDatabase) {
        let site = Site::start(db).await;
        let mut alice = Client::new("alice");
        let answer = alice.sync(&site).await;
        let rules = &answer["account_data"]["events"][0];
        assert_eq!(rules["type"], "m.push_rules");
        assert!(rules["content"]["global"]["override"].is_array(), "{rules}");
        assert!(is_empty(&alice.sync(&site).await));
        let filter = json!({ "account_data": { "not_types": ["m.push_*"] } });
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        assert_eq!(answer["account_data"], json!(null));
    }
}
