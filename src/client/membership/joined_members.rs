//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response as HttpResponse};
use ruma::api::client::membership::joined_members::v3::Request;
use serde::Serialize;
use stoa_accounts::Sessions;
use stoa_http::{Admission, Result, Ruma};
use stoa_rooms::{MemberProfile, Rooms};

use crate::ops::find_room::known_room;

/// The memory that one member takes while the answer is built, in bytes.
const MEMBER: u64 = 512;

/// Like ruma's, with `null` if a member has no name or avatar, because clients expect the keys.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    joined: BTreeMap<String, Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    display_name: Option<String>,
    avatar_url: Option<String>,
}

/// Lists the joined members of a room that the user is joined to.
pub(crate) async fn joined_members(
    State(rooms): State<Arc<Rooms>>,
    State(sessions): State<Arc<Sessions>>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<HttpResponse> {
    let room = known_room(&rooms, &body.room_id).await?;
    let joined = rooms.known.committed(&room).await?.joined;
    let weight = MEMBER * u64::try_from(joined).unwrap_or_default();
    let place = admission.admit(&session.user_id, weight).await?;
    let members = rooms.members.joined(&session.user_id, &room).await?;
    // The user may have been logged out while this waited for memory.
    sessions.check_goes_on_everywhere(&session).await?;
    let joined = members.into_iter().map(|(user_id, MemberProfile { displayname, avatar_url })| {
        (user_id, Member { display_name: displayname, avatar_url })
    });
    Ok(place.json(Response { joined: joined.collect() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn joined_members_are_listed_with_name_and_avatar(db: TestDatabase) {
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
