//! `PUT /_matrix/client/v3/directory/room/{roomAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::alias::create_alias::v3::{Request, Response};
use stoa_directory::Directory;
use stoa_http::{Answer, Result, Ruma};
use stoa_rooms::Rooms;

use crate::ops::find_room::known_room;

/// Gives a room that the user is in an alias of this server.
pub(crate) async fn create_alias(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let actor = request.actor();
    let room = known_room(&rooms, &request.body.room_id).await?;
    directory.create_alias(&actor, &request.body.room_alias, &room).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stoa_testing::{TestClient, TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/directory/room";

    async fn room(creator: &TestClient) -> Value {
        let created = creator.post("/_matrix/client/v3/createRoom", json!({})).await.ok();
        created["room_id"].clone()
    }

    both_databases! {
        async fn an_alias_leads_to_its_room(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = room(&alice).await;
            // In UTF-8 and percent-encoded: `plain`, `é`, a crab.
            for name in ["plain", "%C3%A9", "%F0%9F%A6%80"] {
                let path = format!("{PATH}/%23{name}:test");
                alice.get(&path).await.refused(404, "M_NOT_FOUND");
                assert_eq!(alice.put(&path, json!({ "room_id": room })).await.ok(), json!({}));
                // Anybody can look it up, even without an access token.
                let found = server.client().get(&path).await.ok();
                assert_eq!(found, json!({ "room_id": room, "servers": ["test"] }));
                let again = alice.put(&path, json!({ "room_id": room })).await;
                again.refused(409, "M_UNKNOWN");
            }
        }

        async fn no_power_is_needed_for_an_alias_of_ones_own(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({ "invite": ["@bob:test"] })).await;
            bob.join(&room).await;
            let path = format!("{PATH}/%23his:test");
            bob.put(&path, json!({ "room_id": room })).await.ok();
            assert_eq!(alice.get(&path).await.ok()["room_id"], room);
            bob.delete(&path).await.ok();
            alice.get(&path).await.refused(404, "M_NOT_FOUND");
        }

        async fn only_members_make_aliases_and_only_of_this_server(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let body = json!({ "room_id": room(&alice).await });
            let path = format!("{PATH}/%23a:test");
            bob.put(&path, body.clone()).await.refused(403, "M_FORBIDDEN");
            let unknown = alice.put(&path, json!({ "room_id": "!unknown:test" })).await;
            unknown.refused(403, "M_FORBIDDEN");
            for alias in ["%23a:elsewhere", "%23:test", "a:test", "%23a"] {
                let answer = alice.put(&format!("{PATH}/{alias}"), body.clone()).await;
                answer.refused(400, "M_INVALID_PARAM");
            }
            let long = format!("{PATH}/%23{}:test", "x".repeat(250));
            alice.put(&long, body).await.refused(400, "M_INVALID_PARAM");
        }
    }
}
