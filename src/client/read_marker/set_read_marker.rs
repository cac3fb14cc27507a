//! `POST /_matrix/client/v3/rooms/{roomId}/read_markers`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    api::client::read_marker::set_read_marker::v3::{Request, Response},
    events::receipt::ReceiptThread,
};
use stoa_http::{Answer, Result, Ruma};
use stoa_push::{Mark, MarkKind, ReadState};
use stoa_rooms::Rooms;

use crate::ops::find_room::known_room;

/// Moves the given ones of the fully-read marker, the public receipt and the private receipt.
pub(crate) async fn set_read_marker(
    State(rooms): State<Arc<Rooms>>,
    State(read_state): State<Arc<ReadState>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let body = &request.body;
    let room = known_room(&rooms, &body.room_id).await?;
    let given = [
        (MarkKind::FullyRead, &body.fully_read),
        (MarkKind::Read, &body.read_receipt),
        (MarkKind::ReadPrivate, &body.private_read_receipt),
    ];
    let marks: Vec<Mark<'_>> = given
        .into_iter()
        .filter_map(|(kind, event_id)| {
            let event_id = event_id.as_deref()?;
            Some(Mark { kind, event_id, thread: &ReceiptThread::Unthreaded })
        })
        .collect();
    // The operation itself counts as one.
    request.budget.charge(&request.session.user_id, marks.len().saturating_sub(1))?;
    read_state.mark(&request.actor(), &room, &marks).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use ruma::RoomId;
    use serde_json::json;
    use stoa_base::Pos;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn markers_are_moved_together(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let created = alice.post("/_matrix/client/v3/createRoom", json!({})).await.ok();
            let room = created["room_id"].as_str().unwrap();
            let send = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
            let event = alice.put(&send, json!({})).await.ok()["event_id"].clone();

            let path = format!("/_matrix/client/v3/rooms/{room}/read_markers");
            let markers = json!({ "m.fully_read": event, "m.read": event });
            bob.post(&path, markers.clone()).await.refused(403, "M_FORBIDDEN");
            assert_eq!(alice.post(&path, markers).await.ok(), json!({}));
            alice.post(&path, json!({})).await.ok();
            alice.post(&path, json!({ "m.read": 5 })).await.refused(400, "M_BAD_JSON");

            let state = server.state();
            let room = state.rooms.known.by_id(&RoomId::parse(room).unwrap()).await.unwrap();
            let reader = "@alice:test".try_into().unwrap();
            let head = state.tailer.applied();
            let (rooms, since) = ([room.nid], Pos::START);
            let receipts =
                state.read_state.receipts_changed(reader, &rooms, since, head, i64::MAX).await;
            assert_eq!(receipts.unwrap()[&room.nid].len(), 1);
            let marker = state.accounts.account_data.get(reader, Some(room.nid), "m.fully_read").await;
            let marker: serde_json::Value =
                serde_json::from_str(marker.unwrap().unwrap().get()).unwrap();
            assert_eq!(marker, json!({ "event_id": event }));
        }
    }
}
