//! `POST /_matrix/client/v3/rooms/{roomId}/leave`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::leave_room::v3::{Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::change_membership::change_membership;

/// Leaves a room, rejects an invite, or takes back a knock.
pub(crate) async fn leave_room(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Leave;
    let (session, room_id) = (&request.session, &body.room_id);
    change_membership(&rooms, &profiles, &actor, session, room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn a_user_leaves_a_room(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            // Without any body.
            let leave = bob.request(http::Method::POST, &in_room(&room, "leave"));
            assert_eq!(leave.send().await.ok(), json!({}));
            let member = alice.state(&room, "m.room.member", "@bob:test").await;
            assert_eq!(member, json!({ "membership": "leave" }));
            let joined = bob.get("/_matrix/client/v3/joined_rooms").await.ok();
            assert_eq!(joined, json!({ "joined_rooms": [] }));
            let send = in_room(&room, "send/m.room.message/1");
            bob.put(&send, json!({})).await.refused(403, "M_FORBIDDEN");
        }

        async fn an_invite_to_an_empty_room_can_be_rejected(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({ "invite": ["@bob:test"] })).await;
            alice.leave(&room).await;
            bob.post(&in_room(&room, "leave"), json!({ "reason": "no" })).await.ok();
            bob.post(&in_room(&room, "join"), json!({})).await.refused(403, "M_FORBIDDEN");
        }

        async fn outsiders_cannot_leave(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.post(&in_room(&room, "leave"), json!({})).await.refused(403, "M_FORBIDDEN");
            let nowhere = in_room("!nowhere:test", "leave");
            bob.post(&nowhere, json!({})).await.refused(403, "M_FORBIDDEN");
        }
    }
}
