//! Account data in a sync.

use ruma::OwnedRoomId;
use serde_json::{Value, json};
use stoa_storage::log::Append;
use stoa_testing::both_databases;

use crate::{
    client::{Client, is_empty, joined},
    site::{Site, user_id},
};

async fn set(site: &Site, room: Option<&OwnedRoomId>, kind: &str, content: Value) {
    let room = match room {
        Some(id) => Some(site.room(id).await.nid),
        None => None,
    };
    let mut append = Append::new();
    let content = content.to_string();
    stoa_accounts::put_account_data(&mut append, &user_id("alice"), room, kind, content);
    site.node.writer.append(append).await.unwrap();
}

both_databases! {
    async fn account_data_is_sent_once(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        set(&site, None, "m.direct", json!({ "@bob:test": [id] })).await;
        set(&site, Some(&id), "m.tag", json!({ "tags": {} })).await;
        let answer = alice.sync(&site).await;
        let global = json!([{ "type": "m.direct", "content": { "@bob:test": [id] } }]);
        assert_eq!(answer["account_data"]["events"], global);
        let of_room = json!([{ "type": "m.tag", "content": { "tags": {} } }]);
        assert_eq!(joined(&answer, &id)["account_data"]["events"], of_room);
        assert!(is_empty(&alice.sync(&site).await));
        // Another user's account data is not sent.
        site.join("bob", &id).await;
        let answer = Client::new("bob").sync(&site).await;
        assert_eq!(joined(&answer, &id)["account_data"], json!(null));
        // Push rules that were set take precedence over the default ones.
        set(&site, None, "m.push_rules", json!({ "global": {} })).await;
        let answer = Client::new("alice").sync(&site).await;
        let events = answer["account_data"]["events"].as_array().unwrap();
        let rules: Vec<_> = events.iter().filter(|event| event["type"] == "m.push_rules").collect();
        assert_eq!(rules, [&json!({ "type": "m.push_rules", "content": { "global": {} } })]);
    }

    async fn account_data_set_before_joining_comes_with_the_room(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("bob").await;
        let mut alice = Client::new("alice");
        set(&site, Some(&id), "m.tag", json!({ "tags": {} })).await;
        alice.sync(&site).await;
        site.join("alice", &id).await;
        let answer = alice.sync(&site).await;
        assert_eq!(joined(&answer, &id)["account_data"]["events"][0]["type"], "m.tag");
    }

    /// A hundred entries of 130 bytes, each once in memory and once in the answer.
    async fn small_entries_count_with_their_overhead(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        for n in 0..50 {
            set(&site, None, &format!("a{n}"), json!({})).await;
            set(&site, Some(&id), &format!("a{n}"), json!({})).await;
        }
        assert!(!alice.fits(&site, 25_000).await);
        assert!(alice.fits(&site, 27_000).await);
    }

    async fn account_data_of_newly_joined_rooms_counts(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("bob").await;
        let mut alice = Client::new("alice");
        for n in 0..10 {
            set(&site, Some(&id), &format!("a{n}"), json!({ "v": "x".repeat(60_000) })).await;
        }
        alice.sync(&site).await;
        site.join("alice", &id).await;
        assert!(!alice.fits(&site, 1_200_000).await);
        assert!(alice.fits(&site, 1_300_000).await);
        assert_eq!(joined(&alice.sync(&site).await, &id)["account_data"]["events"][9]["type"], "a9");
    }
}
