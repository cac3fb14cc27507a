//! `GET /_matrix/client/v3/rooms/{roomId}/aliases`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::room::aliases::v3::{Request, Response};
use stoa_directory::Directory;
use stoa_http::{Answer, Result, Ruma};
use stoa_rooms::Rooms;

use crate::ops::find_room::known_room;

/// Returns the local aliases of a room.
pub(crate) async fn aliases(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let room = known_room(&rooms, &request.body.room_id).await?;
    let aliases = directory.aliases_of(&request.session.user_id, &room).await?;
    Ok(Answer(Response::new(aliases)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn the_aliases_are_shown_to_members(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let created = alice.post("/_matrix/client/v3/createRoom", json!({})).await.ok();
            let room = created["room_id"].as_str().unwrap();
            let path = format!("/_matrix/client/v3/rooms/{room}/aliases");
            assert_eq!(alice.get(&path).await.ok(), json!({ "aliases": [] }));
            let body = json!({ "room_id": room });
            alice.put("/_matrix/client/v3/directory/room/%23a:test", body).await.ok();
            assert_eq!(alice.get(&path).await.ok(), json!({ "aliases": ["#a:test"] }));
            bob.get(&path).await.refused(403, "M_FORBIDDEN");
            let unknown = alice.get("/_matrix/client/v3/rooms/!unknown:test/aliases").await;
            unknown.refused(403, "M_FORBIDDEN");
        }
    }
}
