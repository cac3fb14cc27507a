//! Read receipts in a sync.

use ruma::events::receipt::ReceiptThread::{Main, Unthreaded};
use serde_json::json;
use stoa_push::MarkKind;
use stoa_testing::both_databases;

use crate::{
    client::{Client, is_empty, joined},
    site::Site,
};

both_databases! {
    async fn receipts_are_sent_once_and_private_ones_only_to_their_user(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let event = site.send("alice", &id, "hello").await;
        let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
        alice.sync(&site).await;
        bob.sync(&site).await;
        site.read_up_to("bob", &id, &event, MarkKind::Read, Main).await;
        site.read_up_to("bob", &id, &event, MarkKind::ReadPrivate, Unthreaded).await;

        let answer = alice.sync(&site).await;
        let receipts = &joined(&answer, &id)["ephemeral"]["events"];
        assert_eq!(receipts[0]["type"], "m.receipt");
        assert_eq!(receipts[0]["room_id"], json!(null));
        let his = &receipts[0]["content"][event.as_str()];
        assert_eq!(his["m.read"]["@bob:test"]["thread_id"], "main");
        assert!(his["m.read"]["@bob:test"]["ts"].is_number());
        assert_eq!(his["m.read.private"], json!(null));
        let answer = bob.sync(&site).await;
        let receipts = &joined(&answer, &id)["ephemeral"]["events"];
        assert!(receipts[0]["content"][event.as_str()]["m.read.private"].is_object(), "{answer}");
        assert!(is_empty(&alice.sync(&site).await));
        assert!(is_empty(&bob.sync(&site).await));

        // Initial syncs and newly joined users get all receipts.
        site.join("carol", &id).await;
        for name in ["alice", "carol"] {
            let answer = Client::new(name).sync(&site).await;
            let receipts = &joined(&answer, &id)["ephemeral"]["events"];
            assert!(receipts[0]["content"][event.as_str()]["m.read"].is_object(), "{answer}");
        }
        let filter = json!({ "room": { "ephemeral": { "not_types": ["m.receipt"] } } });
        let answer = Client::with_filter("alice", filter).sync(&site).await;
        assert_eq!(joined(&answer, &id)["ephemeral"], json!(null));
    }
}
