//! `GET /_matrix/client/v3/directory/list/room/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::{
    directory::get_room_visibility::v3::{Request, Response},
    room::Visibility,
};
use stoa_directory::Directory;
use stoa_http::{Answer, Result, Ruma};
use stoa_rooms::Rooms;

/// Returns whether a room is in the room directory.
pub(crate) async fn get_room_visibility(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let room = rooms.known.by_id(&request.body.room_id).await?;
    let is_public = directory.is_published(&room).await?;
    let visibility = if is_public { Visibility::Public } else { Visibility::Private };
    Ok(Answer(Response::new(visibility)))
}

#[cfg(test)]
mod tests {
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn an_unknown_room_is_not_found(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let unknown = "/_matrix/client/v3/directory/list/room/!unknown:test";
            alice.get(unknown).await.refused(404, "M_NOT_FOUND");
        }
    }
}
