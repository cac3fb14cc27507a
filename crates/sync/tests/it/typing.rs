//! Who is typing.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use stoa_testing::both_databases;

use crate::{
    client::{Client, is_empty, joined},
    site::{Site, user_id},
};

const WHILE: Duration = Duration::from_secs(60);

fn typing(answer: &Value, id: &ruma::OwnedRoomId) -> Value {
    joined(answer, id)["ephemeral"]["events"][0]["content"]["user_ids"].clone()
}

both_databases! {
    async fn clients_are_told_who_starts_and_stops_typing(db: TestDatabase) {
        let site = Arc::new(Site::start(db).await);
        let id = site.create("alice").await;
        let room = site.room(&id).await.nid;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let before = alice.clone();
        let waiter = tokio::spawn({
            let (site, mut alice) = (Arc::clone(&site), alice.clone());
            async move { alice.wait(&site, Duration::from_secs(20)).await }
        });
        site.typing.set(&user_id("bob"), room, Some(WHILE)).await.unwrap();
        assert_eq!(typing(&waiter.await.unwrap(), &id), json!(["@bob:test"]));
        let answer = alice.sync(&site).await;
        let event = json!({ "type": "m.typing", "content": { "user_ids": ["@bob:test"] } });
        assert_eq!(joined(&answer, &id)["ephemeral"]["events"], json!([event]));
        assert_eq!(joined(&answer, &id)["timeline"]["events"], json!([]));
        assert!(is_empty(&alice.sync(&site).await));
        assert_eq!(typing(&Client::new("alice").sync(&site).await, &id), json!(["@bob:test"]));

        site.typing.set(&user_id("bob"), room, None).await.unwrap();
        for mut client in [alice, before] {
            let answer = client.sync(&site).await;
            assert_eq!(typing(&answer, &id), json!([]), "{answer}");
            assert!(is_empty(&client.sync(&site).await));
        }
        // An initial sync does not contain empty lists.
        let answer = Client::new("alice").sync(&site).await;
        assert_eq!(joined(&answer, &id)["ephemeral"], json!(null));
        // Users who are not in the room are not told.
        let mut carol = Client::new("carol");
        carol.sync(&site).await;
        site.typing.set(&user_id("bob"), room, Some(WHILE)).await.unwrap();
        assert!(is_empty(&carol.sync(&site).await));
    }

    async fn nobody_appears_to_type_forever_after_a_restart(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let quiet = site.create("alice").await;
        let room = site.room(&id).await.nid;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let mut before = alice.clone();
        site.typing.set(&user_id("bob"), room, Some(WHILE)).await.unwrap();
        alice.sync(&site).await;
        // This simulates that the counter has started over.
        for client in [&mut alice, &mut before] {
            client.since.as_mut().unwrap().ephemeral.epoch -= 1;
        }
        site.typing.set(&user_id("bob"), room, None).await.unwrap();
        let answer = alice.sync(&site).await;
        assert_eq!(typing(&answer, &id), json!([]));
        assert_eq!(typing(&answer, &quiet), json!([]));
        // A client that was shown nobody typing gets nothing.
        assert!(is_empty(&before.sync(&site).await));
        assert!(is_empty(&alice.sync(&site).await));
    }
}
