//! Room summaries: member counts and heroes.

use serde_json::json;
use stoa_rooms::MembershipChange;
use stoa_testing::both_databases;

use crate::{
    client::{Client, joined},
    site::{Site, actor, object, user_id},
};

both_databases! {
    async fn the_summary_follows_the_members(db: TestDatabase) {
        let site = Site::start(db).await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let id = site
            .create_with("alice", |create| create.invite.push((user_id("bob"), Default::default())))
            .await;
        let summary = joined(&alice.sync(&site).await, &id)["summary"].clone();
        let invited = json!({
            "m.heroes": ["@bob:test"], "m.joined_member_count": 1, "m.invited_member_count": 1,
        });
        assert_eq!(summary, invited);
        site.join("bob", &id).await;
        let summary = joined(&alice.sync(&site).await, &id)["summary"].clone();
        assert_eq!(summary["m.joined_member_count"], 2);
        assert_eq!(summary["m.invited_member_count"], 0);
        site.send("bob", &id, "hello").await;
        assert_eq!(joined(&alice.sync(&site).await, &id)["summary"], json!(null));

        // If Bob is alone, the former member is the hero.
        site.change("alice", &id, MembershipChange::Leave).await;
        let summary = joined(&Client::new("bob").sync(&site).await, &id)["summary"].clone();
        let alone = json!({
            "m.heroes": ["@alice:test"], "m.joined_member_count": 1, "m.invited_member_count": 0,
        });
        assert_eq!(summary, alone);
    }

    async fn a_room_with_a_name_needs_no_heroes(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        site.set("alice", &id, "m.room.name", "", json!({ "name": "named" })).await;
        let summary = joined(&alice.sync(&site).await, &id)["summary"].clone();
        assert_eq!(summary["m.heroes"], json!(null));
        assert_eq!(summary["m.joined_member_count"], 2);
        site.set("alice", &id, "m.room.name", "", json!({ "name": "" })).await;
        let summary = joined(&alice.sync(&site).await, &id)["summary"].clone();
        assert_eq!(summary["m.heroes"], json!(["@bob:test"]));
    }
    async fn a_redacted_name_does_not_count_as_a_name(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let name = site.set("alice", &id, "m.room.name", "", json!({ "name": "named" })).await;
        let mut alice = Client::new("alice");
        let summary = joined(&alice.sync(&site).await, &id)["summary"].clone();
        assert_eq!(summary["m.heroes"], json!(null));
        let room = site.room(&id).await;
        let content = object(json!({}));
        site.rooms.sending.redact(&actor("alice"), None, &room, &name, content, None).await.unwrap();
        let summary = joined(&alice.sync(&site).await, &id)["summary"].clone();
        assert_eq!(summary["m.heroes"], json!(["@bob:test"]));
        let summary = joined(&Client::new("alice").sync(&site).await, &id)["summary"].clone();
        assert_eq!(summary["m.heroes"], json!(["@bob:test"]));
    }

    /// Five rooms whose names take 120,000 bytes each.
    async fn name_events_count_while_they_are_read(db: TestDatabase) {
        let site = Site::start(db).await;
        for _ in 0..5 {
            let id = site.create("bob").await;
            site.join("alice", &id).await;
            site.set("bob", &id, "m.room.name", "", json!({ "name": "x".repeat(60_000) })).await;
        }
        let nothing = json!({ "rooms": [] });
        let filter = json!({ "room": { "timeline": nothing, "state": nothing } });
        let alice = Client::with_filter("alice", filter);
        assert!(!alice.fits(&site, 580_000).await);
        // They are released once it is known that there is a name: an answer with these events has
        // them only once.
        let told = Client::with_filter("alice", json!({ "room": { "timeline": nothing } }));
        assert!(told.fits(&site, 1_100_000).await, "five events and their serialized form");
        assert!(alice.fits(&site, 100_000).await, "it is in memory now");
    }
}
