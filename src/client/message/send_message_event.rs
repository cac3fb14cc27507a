//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    CanonicalJsonValue, OwnedEventId, OwnedRoomId, OwnedTransactionId,
    api::client::message::send_message_event::v3::{Request as RumaRequest, Response},
    events::TimelineEventType,
};
use stoa_http::{Answer, Error, FreeForm, Result, RumaSend};
use stoa_rooms::{Rooms, Transaction};

use crate::ops::find_room::known_room;

/// Like ruma's, with canonical content.
pub(crate) type Request =
    FreeForm<RumaRequest, (OwnedRoomId, TimelineEventType, OwnedTransactionId)>;

/// Sends an event that is not a state event. Repeating the transaction does not send it again.
pub(crate) async fn send_message_event(
    State(rooms): State<Arc<Rooms>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session) = (request.actor(), request.session);
    let FreeForm { path: (room_id, kind, txn_id), body: content, .. } = request.body;
    let room = known_room(&rooms, &room_id).await?;
    let endpoint = format!("send {room_id} {kind}");
    let transaction = Transaction::new(session.device_key(), &endpoint, &txn_id)?;
    let (session, transaction) = (Some(&*session.id), Some(transaction));
    let event_id = if kind == TimelineEventType::RoomRedaction {
        let target = redacted(content.get("redacts"))?;
        rooms.sending.redact(&actor, session, &room, &target, content, transaction).await?
    } else {
        rooms.sending.send_message(&actor, session, &room, kind, content, transaction).await?
    };
    Ok(Answer(Response::new(event_id)))
}

/// The event that a redaction redacts: from room version 11 on, it is in the content.
fn redacted(redacts: Option<&CanonicalJsonValue>) -> Result<OwnedEventId> {
    let redacts = redacts.and_then(CanonicalJsonValue::as_str);
    let redacts = redacts.and_then(|id| OwnedEventId::try_from(id).ok());
    redacts.ok_or_else(|| Error::bad_json("The content of a redaction must contain `redacts`."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{PASSWORD, TestServer, both_databases, in_room};

    both_databases! {
        async fn a_transaction_sends_one_event(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let other = alice.create_public_room().await;
            let send = async |client: &stoa_testing::TestClient, room: &str, kind: &str| {
                let path = in_room(room, &format!("send/{kind}/t%201"));
                client.put(&path, json!({ "body": "x" })).await.ok()["event_id"].clone()
            };
            let first = send(&alice, &room, "a").await;
            assert_eq!(send(&alice, &room, "a").await, first);
            let otherwise = json!({ "body": "y" });
            let again = alice.put(&in_room(&room, "send/a/t%201"), otherwise).await.ok();
            assert_eq!(again["event_id"], first);
            assert_ne!(send(&alice, &other, "a").await, first);
            assert_ne!(send(&alice, &room, "b").await, first);
            let device = server.log_in(&alice).await;
            assert_ne!(send(&device, &room, "a").await, first);
            // Only the sending device gets the transaction ID.
            let event = alice.event(&room, first.as_str().unwrap()).await;
            assert_eq!(event["unsigned"]["transaction_id"], "t 1");
            let event = device.event(&room, first.as_str().unwrap()).await;
            assert_eq!(event["unsigned"].get("transaction_id"), None);
        }

        async fn a_device_that_logs_in_again_keeps_its_transactions(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let path = in_room(&room, "send/m.room.message/1");
            let sent = alice.put(&path, json!({})).await.ok();
            let log_in = json!({
                "type": "m.login.password", "password": stoa_testing::PASSWORD,
                "identifier": { "type": "m.id.user", "user": "alice" }, "device_id": alice.device_id,
            });
            let session = server.client().post("/_matrix/client/v3/login", log_in).await.ok();
            let again = server.client().with_session(&session);
            assert_eq!(again.put(&path, json!({})).await.ok(), sent);
            // It is the same device, so it gets the transaction ID.
            let synced = again.get("/_matrix/client/v3/sync").await.ok();
            let timeline = synced["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap();
            let event = timeline.last().unwrap();
            assert_eq!(event["event_id"], sent["event_id"]);
            assert_eq!(event["unsigned"]["transaction_id"], "1");
        }

        async fn content_is_canonical_json(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let path = in_room(&room, "send/complement.dummy/1");
            for (body, code) in [
                (r#""text""#, "M_BAD_JSON"),
                ("[]", "M_BAD_JSON"),
                ("null", "M_BAD_JSON"),
                (r#"{"body":1.1}"#, "M_BAD_JSON"),
                (r#"{"body":9007199254740992}"#, "M_BAD_JSON"),
                (r#"{"body":-9007199254740992}"#, "M_BAD_JSON"),
                (r#"{"deep":[{"body":1e3}]}"#, "M_BAD_JSON"),
                (r#"{"body":Infinity}"#, "M_NOT_JSON"),
                (r#"{"body":-Infinity}"#, "M_NOT_JSON"),
                (r#"{"body":NaN}"#, "M_NOT_JSON"),
                (r#"{"body":"x""#, "M_NOT_JSON"),
            ] {
                let sent = alice.request(http::Method::PUT, &path).body(body).send().await;
                sent.refused(400, code);
            }
            for number in [9_007_199_254_740_991_i64, -9_007_199_254_740_991] {
                let id = alice.send_event(&room, "complement.dummy", json!({ "n": number })).await;
                assert_eq!(alice.event(&room, &id).await["content"], json!({ "n": number }));
            }
        }

        async fn a_too_large_event_is_refused_and_leaves_its_transaction_free(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let path = in_room(&room, "send/m.room.message/1");
            let large = json!({ "body": "x".repeat(70_000) });
            alice.put(&path, large).await.refused(413, "M_TOO_LARGE");
            alice.put(&path, json!({ "body": "x" })).await.ok();
            let kind = "k".repeat(256);
            let path = in_room(&room, &format!("send/{kind}/1"));
            alice.put(&path, json!({})).await.refused(413, "M_TOO_LARGE");
            let path = in_room(&room, &format!("send/m.x/{}", "t".repeat(256)));
            alice.put(&path, json!({})).await.refused(400, "M_INVALID_PARAM");
            let path = in_room(&room, "send/m%00x/1");
            alice.put(&path, json!({})).await.refused(400, "M_BAD_JSON");
        }

        async fn outsiders_send_nothing(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            for room in [&*room, "!nowhere:test"] {
                let path = in_room(room, "send/m.room.message/1");
                bob.put(&path, json!({})).await.refused(403, "M_FORBIDDEN");
            }
        }

        async fn a_redaction_may_be_sent_as_an_event(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let sent = alice.send(&room, "secret").await;
            let content = json!({ "redacts": sent, "reason": "why" });
            alice.send_event(&room, "m.room.redaction", content).await;
            assert_eq!(alice.event(&room, &sent).await["content"], json!({}));
            let path = in_room(&room, "send/m.room.redaction/1");
            alice.put(&path, json!({ "reason": "why" })).await.refused(400, "M_BAD_JSON");
        }

        async fn a_repeated_request_gets_its_first_answer(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let sent = in_room(&room, "send/m.room.message/1");
            let first = bob.put(&sent, json!({ "body": "hello" })).await.ok();
            let target = first["event_id"].as_str().unwrap();
            let redacted = in_room(&room, &format!("redact/{target}/1"));
            let second = bob.put(&redacted, json!({})).await.ok();
            alice.post(&in_room(&room, "ban"), json!({ "user_id": "@bob:test" })).await.ok();
            let token = bob.token().unwrap().to_owned();
            drop((alice, bob));
            // On another node, or on the same one after a restart.
            let mut here = None;
            if db.backend() == stoa_testing::Backend::Sqlite {
                server.stop().await;
            } else {
                here = Some(server);
            }
            let there = TestServer::start(db).await;
            let here = here.as_ref().unwrap_or(&there);
            let bob_there = there.client().with_token(&token);
            assert_eq!(bob_there.put(&sent, json!({ "body": "hello" })).await.ok(), first);
            assert_eq!(bob_there.put(&redacted, json!({})).await.ok(), second);
            let new = in_room(&room, "send/m.room.message/2");
            bob_there.put(&new, json!({})).await.refused(403, "M_FORBIDDEN");
            // A session that was logged out is told so, and nothing else.
            let bob_here = here.client().with_token(&token);
            bob_here.post("/_matrix/client/v3/logout", json!({})).await.ok();
            bob_there.put(&sent, json!({ "body": "hello" })).await.refused(401, "M_UNKNOWN_TOKEN");
        }

        async fn a_new_device_does_not_get_the_answers_of_an_old_one_with_its_id(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let log_in = async || {
                let request = json!({
                    "type": "m.login.password", "user": "alice", "password": PASSWORD,
                    "device_id": "PHONE",
                });
                let client = server.client();
                let session = client.post("/_matrix/client/v3/login", request).await.ok();
                client.with_session(&session)
            };
            let path = in_room(&room, "send/m.room.message/1");
            let phone = log_in().await;
            let first = phone.put(&path, json!({ "body": "one" })).await.ok();
            // After logging in again, it is still the same device.
            let phone = log_in().await;
            assert_eq!(phone.put(&path, json!({ "body": "one" })).await.ok(), first);
            phone.post("/_matrix/client/v3/logout", json!({})).await.ok();
            let phone = log_in().await;
            let second = phone.put(&path, json!({ "body": "two" })).await.ok();
            assert_ne!(second, first);
            let own = phone.event(&room, second["event_id"].as_str().unwrap()).await;
            assert_eq!(own["unsigned"]["transaction_id"], "1");
            let earlier = phone.event(&room, first["event_id"].as_str().unwrap()).await;
            assert!(earlier["unsigned"].get("transaction_id").is_none(), "{earlier}");
        }

        async fn two_nodes_send_a_transaction_once_and_refuse_ended_sessions(db: TestDatabase) {
            if db.backend() == stoa_testing::Backend::Sqlite {
                return;
            }
            let (here, there) = (TestServer::start(db).await, TestServer::start(db).await);
            let alice = here.register("alice").await;
            let session = json!({ "access_token": alice.token(), "user_id": "@alice:test" });
            let alice_there = there.client().with_session(&session);
            // Created on one node, used on the other at once.
            let room = alice.create_public_room().await;
            let path = in_room(&room, "send/m.room.message/1");
            let sent = alice_there.put(&path, json!({})).await.ok();
            assert_eq!(alice.put(&path, json!({})).await.ok(), sent);
            assert_eq!(alice_there.put(&path, json!({})).await.ok(), sent);
            alice.post("/_matrix/client/v3/logout", json!({})).await.ok();
            alice_there.put(&path, json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
            let path = in_room(&room, "send/m.room.message/2");
            alice_there.put(&path, json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
            let state = in_room(&room, "state/m.room.topic");
            alice_there.put(&state, json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
        }
    }
}
