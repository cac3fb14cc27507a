//! `POST /_matrix/client/v3/rooms/{roomId}/unban`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::unban_user::v3::{Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::change_membership::change_membership;

/// Lifts a user's ban. The user does not join the room by that.
pub(crate) async fn unban_user(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Unban(body.user_id);
    let (session, room_id) = (&request.session, &body.room_id);
    change_membership(&rooms, &profiles, &actor, session, room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn an_unbanned_user_can_join_again(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            let body = json!({ "user_id": "@bob:test" });
            let unban = in_room(&room, "unban");
            alice.post(&unban, body.clone()).await.refused(403, "M_FORBIDDEN");
            alice.post(&in_room(&room, "ban"), body.clone()).await.ok();
            assert_eq!(alice.post(&unban, body).await.ok(), json!({}));
            let member = alice.state(&room, "m.room.member", "@bob:test").await;
            assert_eq!(member, json!({ "membership": "leave" }));
            bob.join(&room).await;
        }
    }
}
