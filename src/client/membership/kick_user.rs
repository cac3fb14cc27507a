//! `POST /_matrix/client/v3/rooms/{roomId}/kick`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::kick_user::v3::{Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::change_membership::change_membership;

/// Kicks a user who is joined, invited or knocking.
pub(crate) async fn kick_user(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Kick(body.user_id);
    let (session, room_id) = (&request.session, &body.room_id);
    change_membership(&rooms, &profiles, &actor, session, room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn only_members_can_be_kicked(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            let kick = async || {
                let body = json!({ "user_id": "@bob:test", "reason": "spam" });
                alice.post(&in_room(&room, "kick"), body).await
            };
            kick().await.refused(403, "M_FORBIDDEN");
            bob.join(&room).await;
            assert_eq!(kick().await.ok(), json!({}));
            let member = alice.state(&room, "m.room.member", "@bob:test").await;
            assert_eq!(member, json!({ "membership": "leave", "reason": "spam" }));
            kick().await.refused(403, "M_FORBIDDEN");
            bob.join(&room).await;
            let kick = json!({ "user_id": "@alice:test" });
            bob.post(&in_room(&room, "kick"), kick).await.refused(403, "M_FORBIDDEN");
        }
    }
}
