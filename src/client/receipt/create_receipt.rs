//! `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomId,
    api::client::receipt::create_receipt::v3::{ReceiptType, Request as RumaRequest, Response},
    events::receipt::ReceiptThread,
};
use stoa_http::{Answer, Error, FreeForm, Result, Ruma};
use stoa_push::{Mark, MarkKind, ReadState};
use stoa_rooms::Rooms;

use crate::ops::find_room::known_room;

/// Like ruma's, whose type cannot say that a wrong `thread_id` is an invalid parameter.
pub(crate) type Request = FreeForm<RumaRequest, (OwnedRoomId, ReceiptType, OwnedEventId)>;

/// Moves the user's receipt to an event.
pub(crate) async fn create_receipt(
    State(rooms): State<Arc<Rooms>>,
    State(read_state): State<Arc<ReadState>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let (room_id, kind, event_id) = &request.body.path;
    let kind = match kind {
        ReceiptType::Read => MarkKind::Read,
        ReceiptType::ReadPrivate => MarkKind::ReadPrivate,
        ReceiptType::FullyRead => MarkKind::FullyRead,
        unknown => {
            return Err(Error::invalid_param(format!(
                "There are no receipts of type `{unknown}`."
            )));
        }
    };
    let thread = thread(&request.body.body)?;
    let room = known_room(&rooms, room_id).await?;
    let mark = Mark { kind, event_id, thread: &thread };
    read_state.mark(&request.actor(), &room, &[mark]).await?;
    Ok(Answer(Response::new()))
}

fn thread(body: &CanonicalJsonObject) -> Result<ReceiptThread> {
    let invalid = || Error::invalid_param("`thread_id` must be `main` or an event ID.");
    match body.get("thread_id") {
        None => Ok(ReceiptThread::Unthreaded),
        Some(CanonicalJsonValue::String(thread)) => {
            ReceiptThread::try_from(Some(thread.as_str())).map_err(|_| invalid())
        }
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use ruma::RoomId;
    use serde_json::{Value, json};
    use stoa_base::Pos;
    use stoa_push::Receipt;
    use stoa_testing::{TestClient, TestServer, both_databases};

    async fn room(alice: &TestClient) -> String {
        let room = json!({ "preset": "public_chat" });
        let created = alice.post("/_matrix/client/v3/createRoom", room).await.ok();
        created["room_id"].as_str().unwrap().to_owned()
    }

    async fn send(alice: &TestClient, room: &str, txn: &str, content: Value) -> String {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}");
        let sent = alice.put(&path, content).await.ok();
        sent["event_id"].as_str().unwrap().to_owned()
    }

    fn path(room: &str, kind: &str, event: &str) -> String {
        format!("/_matrix/client/v3/rooms/{room}/receipt/{kind}/{event}")
    }

    async fn receipts(server: &TestServer, room: &str, reader: &TestClient) -> Vec<Receipt> {
        let state = server.state();
        let room = state.rooms.known.by_id(&RoomId::parse(room).unwrap()).await.unwrap();
        let reader = reader.user_id.as_str().try_into().unwrap();
        let (rooms, since, head) = ([room.nid], Pos::START, state.tailer.applied());
        let changed =
            state.read_state.receipts_changed(reader, &rooms, since, head, i64::MAX).await;
        changed.unwrap().remove(&room.nid).unwrap_or_default()
    }

    both_databases! {
        async fn a_receipt_moves_forward(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = room(&alice).await;
            let first = send(&alice, &room, "1", json!({})).await;
            let second = send(&alice, &room, "2", json!({})).await;
            for (event, stands_at) in [(&first, &first), (&second, &second), (&first, &second)] {
                let answer = alice.post(&path(&room, "m.read", event), json!({})).await;
                assert_eq!(answer.ok(), json!({}));
                let [receipt] = &receipts(&server, &room, &alice).await[..] else { panic!() };
                assert_eq!(receipt.event_id, stands_at.as_str());
            }
        }

        async fn a_receipt_needs_no_body(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = room(&alice).await;
            let event = send(&alice, &room, "1", json!({})).await;
            alice.request(Method::POST, &path(&room, "m.read", &event)).send().await.ok();
            assert_eq!(receipts(&server, &room, &alice).await.len(), 1);
        }

        async fn a_private_receipt_is_not_shown_to_others(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = room(&alice).await;
            let event = send(&alice, &room, "1", json!({})).await;
            alice.post(&path(&room, "m.read.private", &event), json!({})).await.ok();
            assert_eq!(receipts(&server, &room, &alice).await.len(), 1);
            assert!(receipts(&server, &room, &bob).await.is_empty());
        }

        async fn a_thread_must_fit(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = room(&alice).await;
            let root = send(&alice, &room, "1", json!({})).await;
            let relation = json!({ "rel_type": "m.thread", "event_id": root });
            let reply = send(&alice, &room, "2", json!({ "m.relates_to": relation })).await;
            let wrong = [json!(5), json!(null), json!(""), json!("x"), json!("main"), json!("$x")];
            for thread in wrong {
                let body = json!({ "thread_id": thread });
                let answer = alice.post(&path(&room, "m.read", &reply), body).await;
                answer.refused(400, "M_INVALID_PARAM");
            }
            let body = json!({ "thread_id": root });
            let marker = alice.post(&path(&room, "m.fully_read", &root), body.clone()).await;
            marker.refused(400, "M_INVALID_PARAM");
            alice.post(&path(&room, "m.read", &reply), body).await.ok();
            let [receipt] = &receipts(&server, &room, &alice).await[..] else { panic!() };
            assert_eq!(receipt.thread.as_deref(), Some(root.as_str()));
        }

        async fn only_members_mark_events_of_the_room(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = room(&alice).await;
            let event = send(&alice, &room, "1", json!({})).await;
            let by_bob = bob.post(&path(&room, "m.read", &event), json!({})).await;
            by_bob.refused(403, "M_FORBIDDEN");
            let elsewhere = alice.post(&path("!unknown:test", "m.read", &event), json!({})).await;
            elsewhere.refused(403, "M_FORBIDDEN");
            let unknown = alice.post(&path(&room, "m.read", "$unknown"), json!({})).await;
            unknown.refused(404, "M_NOT_FOUND");
            let odd = alice.post(&path(&room, "m.odd", &event), json!({})).await;
            odd.refused(400, "M_INVALID_PARAM");
        }
    }
}
