//! `PUT /_matrix/client/v3/directory/list/room/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::{
    directory::set_room_visibility::v3::{Request, Response},
    room::Visibility,
};
use stoa_directory::Directory;
use stoa_http::{Answer, Error, Result, Ruma};
use stoa_rooms::Rooms;

/// Adds a room to the room directory, or removes it.
pub(crate) async fn set_room_visibility(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let is_public = match request.body.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(Error::invalid_param("`visibility` must be `public` or `private`.")),
    };
    let room = rooms.known.by_id(&request.body.room_id).await?;
    let is_admin = request.session.is_admin;
    directory.set_published(&request.actor(), is_admin, &room, is_public).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn an_admin_of_the_room_publishes_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let created = alice.post("/_matrix/client/v3/createRoom", json!({})).await.ok();
            let path =
                format!("/_matrix/client/v3/directory/list/room/{}", created["room_id"].as_str().unwrap());
            let (public, private) =
                (json!({ "visibility": "public" }), json!({ "visibility": "private" }));
            assert_eq!(server.client().get(&path).await.ok(), private);
            bob.put(&path, public.clone()).await.refused(403, "M_FORBIDDEN");
            assert_eq!(server.client().get(&path).await.ok(), private);
            for wanted in [public, private] {
                assert_eq!(alice.put(&path, wanted.clone()).await.ok(), json!({}));
                assert_eq!(server.client().get(&path).await.ok(), wanted);
            }
            let odd = alice.put(&path, json!({ "visibility": "odd" })).await;
            odd.refused(400, "M_INVALID_PARAM");
        }
    }
}
