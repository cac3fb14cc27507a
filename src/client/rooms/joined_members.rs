//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use ruma::api::client::membership::joined_members::v3::Request;
use serde::{Deserialize, Serialize};
use stoa_rooms::{Rooms, state::Part};

use super::known_room;
use crate::http::{Error, Result, Ruma, respond::Json};

/// Like ruma's, with `null` where a member has no name or avatar: clients read the keys.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    joined: BTreeMap<String, Member>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Member {
    #[serde(rename(deserialize = "displayname"), default)]
    display_name: Option<String>,
    #[serde(default)]
    avatar_url: Option<String>,
}

/// Lists the joined members of a room that the user is joined to.
pub(crate) async fn get_joined_members(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<Response>> {
    let room = known_room(&rooms, &body.room_id).await?;
    let membership = rooms.membership(&session.user_id, &room).await?;
    if !membership.is_some_and(|row| row.is_joined()) {
        return Err(Error::forbidden("You are not in this room."));
    }
    let state = rooms.committed(&room).await?.state;
    let members = rooms.state_events(state, Part::Members).await?;
    let joined = members
        .iter()
        .filter(|event| event.membership().as_deref() == Some("join"))
        .filter_map(|event| {
            let member = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
            Some((event.pdu.state_key.clone()?, member))
        })
        .collect();
    Ok(Json(Response { joined }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn who_is_there_is_shown_with_name_and_avatar(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let name = "/_matrix/client/v3/profile/@bob:test/displayname";
            bob.put(name, json!({ "displayname": "Bob" })).await.ok();
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            server.register("charlie").await;
            alice.invite(&room, "@charlie:test").await;
            let members = alice.get(&in_room(&room, "joined_members")).await.ok();
            let expected = json!({ "joined": {
                "@alice:test": { "display_name": null, "avatar_url": null },
                "@bob:test": { "display_name": "Bob", "avatar_url": null },
            } });
            assert_eq!(members, expected);
        }

        async fn who_has_left_is_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({})).await;
            alice.leave(&room).await;
            for version in ["r0", "v3"] {
                let path =
                    format!("/_matrix/client/{version}/rooms/{}/joined_members", encode(&room));
                alice.get(&path).await.refused(403, "M_FORBIDDEN");
            }
        }
    }
}
