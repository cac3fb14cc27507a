//! `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid>

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::typing::create_typing_event::v3::{Request as RumaRequest, Response},
};
use serde::Deserialize;
use stoa_ephemeral::Typing;
use stoa_http::{Answer, Error, FreeForm, Result, Ruma};
use stoa_rooms::Rooms;

use crate::ops::{find_room::known_room, own_user::check_own_user};

/// How long a user counts as typing if the client gives no time.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Like ruma's, but `timeout` can be left out.
pub(crate) type Request = FreeForm<RumaRequest, (OwnedRoomId, OwnedUserId)>;

#[derive(Deserialize)]
struct Body {
    typing: bool,
    timeout: Option<u64>,
}

/// Sets whether the user is typing in the room.
pub(crate) async fn create_typing_event(
    State(rooms): State<Arc<Rooms>>,
    State(typing): State<Typing>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let (room_id, user_id) = &request.body.path;
    check_own_user(user_id, &request.session.user_id)?;
    let body: Body =
        serde_json::from_slice(&request.raw).map_err(|error| Error::bad_json(error.to_string()))?;
    let room = known_room(&rooms, room_id).await?;
    let membership = rooms.memberships.in_room(user_id, &room).await?;
    if !membership.is_some_and(|membership| membership.is_joined()) {
        return Err(Error::forbidden("You are not in this room."));
    }
    let timeout = body.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    typing.set(user_id, room.nid, body.typing.then_some(timeout)).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use ruma::RoomId;
    use serde_json::{Value, json};
    use stoa_testing::{TestClient, TestServer, both_databases};

    async fn room(alice: &TestClient) -> String {
        let room = json!({ "preset": "public_chat" });
        let created = alice.post("/_matrix/client/v3/createRoom", room).await.ok();
        created["room_id"].as_str().unwrap().to_owned()
    }

    fn path(room: &str, user: &TestClient) -> String {
        format!("/_matrix/client/v3/rooms/{room}/typing/{}", user.user_id)
    }

    /// The users typing in the room, if that changed after the count.
    async fn typing(server: &TestServer, room: &str, since: i64) -> Option<Vec<String>> {
        let room = server.state().rooms.known.by_id(&RoomId::parse(room).unwrap()).await.unwrap();
        let (_, users) = server.state().typing.changed_since(room.nid, since)?;
        Some(users.into_iter().map(Into::into).collect())
    }

    both_databases! {
        async fn a_user_types_and_stops(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = room(&alice).await;
            let path = path(&room, &alice);
            let before = server.state().typing.version();
            let starts = json!({ "typing": true, "timeout": 10_000 });
            assert_eq!(alice.put(&path, starts).await.ok(), json!({}));
            assert_eq!(typing(&server, &room, before).await.unwrap(), ["@alice:test"]);
            alice.put(&path, json!({ "typing": false })).await.ok();
            assert!(typing(&server, &room, before).await.unwrap().is_empty());
            // The client can leave out the time, or set it to zero.
            alice.put(&path, json!({ "typing": true })).await.ok();
            assert_eq!(typing(&server, &room, before).await.unwrap(), ["@alice:test"]);
            alice.put(&path, json!({ "typing": true, "timeout": 0 })).await.ok();
            assert!(typing(&server, &room, before).await.unwrap().is_empty());
        }

        async fn only_members_type_and_only_for_themselves(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = room(&alice).await;
            let starts = || json!({ "typing": true, "timeout": 10_000 });
            bob.put(&path(&room, &bob), starts()).await.refused(403, "M_FORBIDDEN");
            bob.put(&path(&room, &alice), starts()).await.refused(403, "M_FORBIDDEN");
            let unknown = path("!unknown:test", &alice);
            alice.put(&unknown, starts()).await.refused(403, "M_FORBIDDEN");
            assert_eq!(typing(&server, &room, 0).await, None);
        }

        async fn nonsense_is_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = path(&room(&alice).await, &alice);
            let nonsense: [Value; 3] = [
                json!({}),
                json!({ "typing": "yes" }),
                json!({ "typing": true, "timeout": -1 }),
            ];
            for body in nonsense {
                alice.put(&path, body).await.refused(400, "M_BAD_JSON");
            }
        }
    }
}
