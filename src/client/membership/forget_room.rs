//! `POST /_matrix/client/v3/rooms/{roomId}/forget`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::forget_room::v3::{Request, Response};
use stoa_http::{Answer, Result, Ruma};
use stoa_rooms::Rooms;

use crate::ops::find_room::known_room;

/// Forgets a room that the user has left: they can no longer read any of it, unless they join
/// again.
pub(crate) async fn forget_room(
    State(rooms): State<Arc<Rooms>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let room = known_room(&rooms, &request.body.room_id).await?;
    rooms.membership_changes.forget(&request.actor(), Some(&request.session.id), &room).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn a_forgotten_room_cannot_be_read(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            let forget = in_room(&room, "forget");
            bob.post(&forget, json!({})).await.refused(403, "M_FORBIDDEN");
            bob.join(&room).await;
            let sent = alice.send(&room, "hello").await;
            bob.post(&forget, json!({})).await.refused(400, "M_UNKNOWN");
            bob.leave(&room).await;
            bob.get(&in_room(&room, "messages?dir=b")).await.ok();
            assert_eq!(bob.post(&forget, json!({})).await.ok(), json!({}));
            bob.get(&in_room(&room, "messages?dir=b")).await.refused(403, "M_FORBIDDEN");
            bob.get(&in_room(&room, "state")).await.refused(403, "M_FORBIDDEN");
            bob.get(&in_room(&room, "members")).await.refused(403, "M_FORBIDDEN");
            let event = in_room(&room, &format!("event/{}", encode(&sent)));
            bob.get(&event).await.refused(404, "M_NOT_FOUND");
            // A user who joins again has the room back.
            bob.join(&room).await;
            bob.get(&event).await.ok();
        }
    }
}
