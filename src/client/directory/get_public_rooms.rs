//! `GET /_matrix/client/v3/publicRooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    UInt,
    api::client::directory::get_public_rooms::v3::{Request, Response},
};
use stoa_directory::{Directory, ListOptions};
use stoa_http::{Answer, MayReadRoomList, Result, Ruma};
use stoa_rooms::Rooms;

use super::{check_server, limit};

/// Returns a page of the room directory.
pub(crate) async fn get_public_rooms(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    _: MayReadRoomList,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let body = request.body;
    check_server(&rooms, body.server.as_ref())?;
    let options =
        ListOptions { limit: limit(body.limit), since: body.since, ..ListOptions::default() };
    let list = directory.list(&options).await?;
    let mut response = Response::new(list.rooms);
    response.next_batch = list.next;
    response.prev_batch = list.prev;
    response.total_room_count_estimate = list.total.map(UInt::new_saturating);
    Ok(Answer(response))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stoa_testing::{TestClient, TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/publicRooms";

    async fn room(creator: &TestClient, body: Value) -> Value {
        creator.post("/_matrix/client/v3/createRoom", body).await.ok()["room_id"].clone()
    }

    fn ids(list: &Value) -> Vec<Value> {
        let rooms = list["chunk"].as_array().unwrap();
        rooms.iter().map(|room| room["room_id"].clone()).collect()
    }

    both_databases! {
        async fn public_rooms_are_listed_without_a_token_if_allowed(db: TestDatabase) {
            let server =
                TestServer::start_with(db, |config, _| config.anonymous.room_list = true).await;
            let alice = server.register("alice").await;
            let empty = json!({ "chunk": [], "total_room_count_estimate": 0 });
            assert_eq!(server.client().get(PATH).await.ok(), empty);
            room(&alice, json!({ "preset": "public_chat" })).await;
            let body = json!({ "visibility": "public", "name": "N", "room_alias_name": "n" });
            let public = room(&alice, body).await;
            assert_eq!(
                server.client().get(PATH).await.ok(),
                json!({
                    "chunk": [{
                        "room_id": public,
                        "name": "N",
                        "canonical_alias": "#n:test",
                        "num_joined_members": 1,
                        "world_readable": false,
                        "guest_can_join": false,
                    }],
                    "total_room_count_estimate": 1,
                })
            );
        }

        async fn the_list_is_for_users_unless_said_otherwise(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            server.client().get(PATH).await.refused(401, "M_MISSING_TOKEN");
            let impostor = server.client().with_token("made up");
            impostor.get(PATH).await.refused(401, "M_UNKNOWN_TOKEN");
            alice.get(PATH).await.ok();
        }

        async fn pages_follow_one_another(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for _ in 0..3 {
                room(&alice, json!({ "visibility": "public" })).await;
            }
            let whole = ids(&alice.get(PATH).await.ok());
            let first = alice.get(&format!("{PATH}?limit=2")).await.ok();
            let next = first["next_batch"].as_str().unwrap();
            let second = alice.get(&format!("{PATH}?limit=2&since={next}")).await.ok();
            assert_eq!([ids(&first), ids(&second)].concat(), whole);
            assert_eq!(second.get("next_batch"), None);
            let prev = second["prev_batch"].as_str().unwrap();
            let body = json!({ "limit": 2, "since": prev });
            assert_eq!(ids(&alice.post(PATH, body).await.ok()), ids(&first));
            let odd = alice.get(&format!("{PATH}?since=odd")).await;
            odd.refused(400, "M_INVALID_PARAM");
        }

        async fn only_the_list_of_this_server_is_known(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            alice.get(&format!("{PATH}?server=test")).await.ok();
            let other = format!("{PATH}?server=elsewhere");
            alice.get(&other).await.refused(404, "M_NOT_FOUND");
            alice.post(&other, json!({})).await.refused(404, "M_NOT_FOUND");
        }
    }
}
