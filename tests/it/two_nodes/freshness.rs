//! Changes acknowledged by one node are visible on the other at once, without notifications, and
//! even if the other node does not know the stream concerned.

use std::time::Duration;

use serde_json::{Value, json};
use stoa_storage::log::Stream;
use stoa_testing::{
    Backend, TestClient, TestDatabase, TestServer, encode, in_room, run_on, surgery,
};

/// Two nodes that read the log only when a request needs it.
struct Nodes {
    a: TestServer,
    b: TestServer,
}

impl Nodes {
    async fn start(db: &TestDatabase) -> Self {
        Self { a: deaf(db).await, b: deaf(db).await }
    }

    /// A user on A, and the same device on B.
    async fn register(&self, name: &str) -> (TestClient, TestClient) {
        let on_a = self.a.register(name).await;
        let session = json!({
            "access_token": on_a.token(),
            "user_id": on_a.user_id,
            "device_id": on_a.device_id,
        });
        let on_b = self.b.client().with_session(&session);
        (on_a, on_b)
    }
}

async fn deaf(db: &TestDatabase) -> TestServer {
    TestServer::start_with(db, |_, environment| {
        environment.tailer.announce = false;
        environment.tailer.interval = Duration::from_secs(3_600);
    })
    .await
}

/// Runs a test on two nodes that know every stream, and then with a node B that lacks one of these, as
/// one of an older version does while the server is upgraded.
fn on_two_nodes(streams: &[Stream], test: impl AsyncFn(Nodes)) {
    run_on(Backend::Postgres, async |db| {
        test(Nodes::start(db).await).await;
        for stream in streams {
            let db = TestDatabase::create(db.backend()).await.unwrap();
            let store = db.store().await;
            surgery::hide_stream(&store, *stream).await;
            test(Nodes::start(&db).await).await;
            let hidden = surgery::hidden_batches(&store).await;
            assert!(hidden > 0, "A has said nothing of {stream:?}");
        }
    });
}

/// The newest events of a room, with B's caches warm.
async fn newest(client: &TestClient, room: &str) -> Value {
    client.get(&in_room(room, "messages?dir=b&limit=5")).await.ok()["chunk"].clone()
}

fn say() -> Value {
    json!({ "msgtype": "m.text", "body": "hello" })
}

#[test]
fn a_room_created_on_one_node_is_usable_on_the_other() {
    on_two_nodes(&[Stream::Timeline], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let (bob, bob_on_b) = nodes.register("bob").await;
        alice_on_b.get("/_matrix/client/v3/account/whoami").await.ok();
        for _ in 0..5 {
            let room =
                alice.create_room(json!({ "room_alias_name": "here", "preset": "public_chat" }));
            let room = room.await;
            alice_on_b.send(&room, "from B").await;
            let here = format!("/_matrix/client/v3/join/{}", encode("#here:test"));
            bob_on_b.post(&here, json!({})).await.ok();
            bob.send(&room, "from A").await;
            let shown = newest(&bob_on_b, &room).await;
            assert_eq!(shown[0]["content"]["body"], "from A");
            let alias = format!("/_matrix/client/v3/directory/room/{}", encode("#here:test"));
            alice.delete(&alias).await.ok();
            bob_on_b.get(&alias).await.refused(404, "M_NOT_FOUND");
        }
    });
}

#[test]
fn a_user_banned_on_one_node_is_out_on_the_other() {
    on_two_nodes(&[Stream::Membership], async |nodes| {
        let (alice, _) = nodes.register("alice").await;
        let (_, bob) = nodes.register("bob").await;
        let room = alice.create_public_room().await;
        for action in ["ban", "kick"] {
            bob.join(&room).await;
            bob.send(&room, "hello").await;
            // The node's cache says that the user is joined.
            bob.get(&in_room(&room, "joined_members")).await.ok();
            alice.post(&in_room(&room, action), json!({ "user_id": "@bob:test" })).await.ok();
            bob.get(&in_room(&room, "joined_members")).await.refused(403, "M_FORBIDDEN");
            let path = in_room(&room, &format!("send/m.room.message/{action}"));
            bob.put(&path, say()).await.refused(403, "M_FORBIDDEN");
            if action == "ban" {
                let unban = json!({ "user_id": "@bob:test" });
                alice.post(&in_room(&room, "unban"), unban).await.ok();
            }
        }
    });
}

#[test]
fn a_user_who_leaves_on_one_node_sees_nothing_more_on_the_other() {
    on_two_nodes(&[Stream::Membership], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let (bob, bob_on_b) = nodes.register("bob").await;
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        alice_on_b.send(&room, "seen").await;
        assert_eq!(newest(&bob_on_b, &room).await[0]["content"]["body"], "seen");
        bob.leave(&room).await;
        let joined = bob_on_b.get("/_matrix/client/v3/joined_rooms").await.ok();
        assert_eq!(joined["joined_rooms"], json!([]));
        let unseen = alice_on_b.send(&room, "unseen").await;
        let event = in_room(&room, &format!("event/{}", encode(&unseen)));
        bob_on_b.get(&event).await.refused(404, "M_NOT_FOUND");
        let path = in_room(&room, "send/m.room.message/1");
        bob_on_b.put(&path, say()).await.refused(403, "M_FORBIDDEN");
    });
}

#[test]
fn a_user_logged_out_on_one_node_is_logged_out_on_the_other() {
    on_two_nodes(&[Stream::Sessions, Stream::Devices], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let room = alice_on_b.create_public_room().await;
        alice_on_b.send(&room, "hello").await;
        alice.post("/_matrix/client/v3/logout", json!({})).await.ok();
        // A message is guarded by the append, everything else by reading the log's head.
        let path = in_room(&room, "send/m.room.message/1");
        alice_on_b.put(&path, say()).await.refused(401, "M_UNKNOWN_TOKEN");
        let whoami = alice_on_b.get("/_matrix/client/v3/account/whoami").await;
        whoami.refused(401, "M_UNKNOWN_TOKEN");

        let (bob, bob_on_b) = nodes.register("bob").await;
        let second = nodes.b.log_in(&bob).await;
        bob_on_b.get("/_matrix/client/v3/account/whoami").await.ok();
        bob.post("/_matrix/client/v3/logout/all", json!({})).await.ok();
        for session in [bob_on_b, second] {
            let whoami = session.get("/_matrix/client/v3/account/whoami").await;
            whoami.refused(401, "M_UNKNOWN_TOKEN");
        }
    });
}

#[test]
fn an_event_redacted_on_one_node_is_redacted_on_the_other() {
    on_two_nodes(&[Stream::Redaction], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let room = alice.create_public_room().await;
        let secret = alice.send(&room, "secret").await;
        assert_eq!(alice_on_b.event(&room, &secret).await["content"]["body"], "secret");
        assert_eq!(newest(&alice_on_b, &room).await[0]["content"]["body"], "secret");
        alice.redact(&room, &secret).await;
        assert_eq!(alice_on_b.event(&room, &secret).await["content"], json!({}));
        assert_eq!(newest(&alice_on_b, &room).await[1]["content"], json!({}));
        let synced = alice_on_b.get("/_matrix/client/v3/sync").await.ok();
        assert!(!synced.to_string().contains("secret"), "{synced}");
    });
}

#[test]
fn settings_on_one_node_are_read_on_the_other() {
    on_two_nodes(&[Stream::State, Stream::AccountData], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let room = alice_on_b.create_public_room().await;
        let name = "/_matrix/client/v3/profile/@alice:test/displayname";
        let data = "/_matrix/client/v3/user/@alice:test/account_data/m.some";
        for value in ["one", "two", "three"] {
            alice.put(name, json!({ "displayname": value })).await.ok();
            assert_eq!(alice_on_b.get(name).await.ok()["displayname"], value);
            let member = alice_on_b.state(&room, "m.room.member", "@alice:test").await;
            assert_eq!(member["displayname"], value);
            alice.put(data, json!({ "value": value })).await.ok();
            assert_eq!(alice_on_b.get(data).await.ok()["value"], value);
            alice.set_state(&room, "m.room.topic", "", json!({ "topic": value })).await;
            assert_eq!(alice_on_b.state(&room, "m.room.topic", "").await["topic"], value);
        }
    });
}

#[test]
fn a_receipt_on_one_node_is_shown_on_the_other() {
    on_two_nodes(&[Stream::Receipts], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let (bob, _) = nodes.register("bob").await;
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        let mut path = "/_matrix/client/v3/sync".to_owned();
        for text in ["one", "two"] {
            let event = alice_on_b.send(&room, text).await;
            let synced = alice_on_b.get(&path).await.ok();
            path =
                format!("/_matrix/client/v3/sync?since={}", synced["next_batch"].as_str().unwrap());
            let read = in_room(&room, &format!("receipt/m.read/{}", encode(&event)));
            bob.post(&read, json!({})).await.ok();
            let synced = alice_on_b.get(&path).await.ok();
            let told = synced["rooms"]["join"][&room]["ephemeral"]["events"].to_string();
            assert!(told.contains(&event) && told.contains("@bob:test"), "{synced}");
        }
    });
}

#[test]
fn one_transaction_on_both_is_one_event() {
    on_two_nodes(&[Stream::Timeline], async |nodes| {
        let (alice, alice_on_b) = nodes.register("alice").await;
        let room = alice.create_public_room().await;
        for number in 0..20 {
            let path = in_room(&room, &format!("send/m.room.message/{number}"));
            let (one, other) = tokio::join!(alice.put(&path, say()), alice_on_b.put(&path, say()));
            assert_eq!(one.ok(), other.ok());
            assert_eq!(one.ok(), alice_on_b.put(&path, say()).await.ok());
        }
        let page = alice_on_b.get(&in_room(&room, "messages?dir=b&limit=100")).await.ok();
        let messages = page["chunk"].as_array().unwrap().iter();
        assert_eq!(messages.filter(|event| event["type"] == "m.room.message").count(), 20);
    });
}
