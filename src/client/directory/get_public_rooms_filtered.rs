//! `POST /_matrix/client/v3/publicRooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3publicrooms>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    UInt,
    api::client::directory::get_public_rooms_filtered::v3::{Request, Response},
    directory::RoomNetwork,
};
use stoa_directory::{Directory, List, ListOptions};
use stoa_http::{Answer, Result, Ruma};
use stoa_rooms::Rooms;

use super::{check_server, limit};

/// Returns a page of the rooms in the directory that match a filter.
pub(crate) async fn get_public_rooms_filtered(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let body = request.body;
    check_server(&rooms, body.server.as_ref())?;
    let options = ListOptions { limit: limit(body.limit), since: body.since, filter: body.filter };
    let list = match body.room_network {
        // There are no bridges to other networks.
        RoomNetwork::ThirdParty(_) => List::default(),
        _ => directory.list(&options).await?,
    };
    let mut response = Response::new();
    response.chunk = list.rooms;
    response.next_batch = list.next;
    response.prev_batch = list.prev;
    response.total_room_count_estimate = list.total.map(UInt::new_saturating);
    Ok(Answer(response))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/publicRooms";

    fn ids(list: &Value) -> Vec<&str> {
        let rooms = list["chunk"].as_array().unwrap();
        rooms.iter().map(|room| room["room_id"].as_str().unwrap()).collect()
    }

    both_databases! {
        async fn a_filter_finds_rooms(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let bridges = alice.create_room(json!({ "visibility": "public", "name": "Bridges" })).await;
            let space = json!({
                "visibility": "public",
                "name": "Roads",
                "creation_content": { "type": "m.space" },
            });
            let roads = alice.create_room(space).await;
            for (filter, found) in [
                (json!({}), vec![&roads, &bridges]),
                (json!({ "generic_search_term": "BRIDGE" }), vec![&bridges]),
                (json!({ "generic_search_term": "tunnel" }), vec![]),
                (json!({ "room_types": ["m.space"] }), vec![&roads]),
                (json!({ "room_types": [null] }), vec![&bridges]),
            ] {
                let list = alice.post(PATH, json!({ "filter": filter })).await.ok();
                assert_eq!(ids(&list), found, "{filter}");
            }
            let elsewhere = alice.post(PATH, json!({ "third_party_instance_id": "irc" })).await;
            assert_eq!(elsewhere.ok()["chunk"], json!([]));
        }
    }
}
