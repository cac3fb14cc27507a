//! `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue,
    api::client::redact::redact_event::v3::{Request, Response},
};
use stoa_http::{Answer, Result, RumaSend};
use stoa_rooms::{Rooms, Transaction};

use crate::ops::find_room::known_room;

/// Redacts an event.
pub(crate) async fn redact_event(
    State(rooms): State<Arc<Rooms>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session, body) = (request.actor(), request.session, request.body);
    let room = known_room(&rooms, &body.room_id).await?;
    let endpoint = format!("redact {} {}", body.room_id, body.event_id);
    let transaction = Transaction::new(session.device_key(), &endpoint, &body.txn_id)?;
    let reason = body.reason.map(|reason| ("reason".to_owned(), reason.into()));
    let content: CanonicalJsonObject =
        reason.into_iter().collect::<std::collections::BTreeMap<String, CanonicalJsonValue>>();
    let session = Some(&*session.id);
    let event_id = rooms
        .sending
        .redact(&actor, session, &room, &body.event_id, content, Some(transaction))
        .await?;
    Ok(Answer(Response::new(event_id)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn the_content_is_gone_at_once_and_for_everybody(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let sent = alice.send(&room, "secret").await;
            assert_eq!(bob.event(&room, &sent).await["content"]["body"], "secret");
            let path = in_room(&room, &format!("redact/{}/1", encode(&sent)));
            let redaction = alice.put(&path, json!({ "reason": "why" })).await.ok();
            assert_eq!(alice.put(&path, json!({ "reason": "why" })).await.ok(), redaction);
            let event = bob.event(&room, &sent).await;
            assert_eq!(event["content"], json!({}));
            let because = &event["unsigned"]["redacted_because"];
            assert_eq!(because["event_id"], redaction["event_id"]);
            assert_eq!(because["content"]["reason"], "why");
        }

        async fn redactions_need_permission(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let (hers, his) = (alice.send(&room, "a").await, bob.send(&room, "b").await);
            let path = |event: &str| in_room(&room, &format!("redact/{}/1", encode(event)));
            bob.put(&path(&hers), json!({})).await.refused(403, "M_FORBIDDEN");
            alice.put(&path(&his), json!({})).await.ok();
            alice.put(&path("$unknown"), json!({})).await.refused(404, "M_NOT_FOUND");
            let nowhere = in_room("!nowhere:test", "redact/$x/1");
            alice.put(&nowhere, json!({})).await.refused(403, "M_FORBIDDEN");
        }
    }
}
