//! `POST /_matrix/client/v3/rooms/{roomId}/join`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedRoomId,
    api::client::membership::join_room_by_id::v3::{Request as RumaRequest, Response},
};
use stoa_accounts::Profiles;
use stoa_directory::Directory;
use stoa_http::{Answer, FreeForm, Result, RumaSend};
use stoa_rooms::Rooms;

use crate::ops::{find_room::find_room, join_room::join_room};

/// Like ruma's, but keeps unknown keys of the body, which go into the member event.
pub(crate) type Request = FreeForm<RumaRequest, (OwnedRoomId,)>;

/// Joins a room by its ID.
pub(crate) async fn join_room_by_id(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    State(directory): State<Arc<Directory>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, FreeForm { path: (room_id,), body, .. }) = (request.actor(), request.body);
    let room = find_room(&rooms, &directory, (&*room_id).into()).await?;
    join_room(&rooms, &profiles, &actor, &request.session, &room.id, body).await?;
    Ok(Answer(Response::new(room_id)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn joining_twice_makes_one_event(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let member = async || {
                let path = in_room(&room, "state/m.room.member/@bob:test?format=event");
                alice.get(&path).await.ok()["event_id"].clone()
            };
            let first = member().await;
            bob.join(&room).await;
            assert_eq!(member().await, first);
        }

        async fn a_private_room_is_not_joined_uninvited(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({ "preset": "private_chat" })).await;
            let path = in_room(&room, "join");
            bob.post(&path, json!({})).await.refused(403, "M_FORBIDDEN");
            alice.invite(&room, &bob.user_id).await;
            bob.post(&path, json!({})).await.ok();
        }
    }
}
