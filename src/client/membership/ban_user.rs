//! `POST /_matrix/client/v3/rooms/{roomId}/ban`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::ban_user::v3::{Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::change_membership::change_membership;

/// Bans a user, who leaves the room if they are in it.
pub(crate) async fn ban_user(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Ban(body.user_id);
    let (session, room_id) = (&request.session, &body.room_id);
    change_membership(&rooms, &profiles, &actor, session, room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn the_banned_are_out_and_stay_out(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let body = json!({ "user_id": "@bob:test", "reason": "spam" });
            assert_eq!(alice.post(&in_room(&room, "ban"), body).await.ok(), json!({}));
            let member = alice.state(&room, "m.room.member", "@bob:test").await;
            assert_eq!(member, json!({ "membership": "ban", "reason": "spam" }));
            bob.post(&in_room(&room, "join"), json!({})).await.refused(403, "M_FORBIDDEN");
        }

        async fn outsiders_ban_nobody(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let charlie = server.register("charlie").await;
            let room =
                alice.create_room(json!({ "preset": "public_chat", "room_version": "11" })).await;
            bob.join(&room).await;
            let levels = json!({ "users": { "@charlie:test": 100 } });
            alice.set_state(&room, "m.room.power_levels", "", levels).await;
            let body = json!({ "user_id": "@bob:test" });
            charlie.post(&in_room(&room, "ban"), body).await.refused(403, "M_FORBIDDEN");
        }

        async fn two_nodes_agree_on_a_ban_at_once(db: TestDatabase) {
            if db.backend() == stoa_testing::Backend::Sqlite {
                return;
            }
            let (here, there) = (TestServer::start(db).await, TestServer::start(db).await);
            let (alice, bob) = (here.register("alice").await, here.register("bob").await);
            let session = json!({ "access_token": bob.token(), "user_id": "@bob:test" });
            let bob_there = there.client().with_session(&session);
            let room = alice.create_public_room().await;
            for n in 0..10 {
                bob_there.join(&room).await;
                bob_there.send(&room, "hello").await;
                let body = json!({ "user_id": "@bob:test" });
                alice.post(&in_room(&room, "ban"), body.clone()).await.ok();
                let send = in_room(&room, &format!("send/m.room.message/{n}"));
                bob_there.put(&send, json!({})).await.refused(403, "M_FORBIDDEN");
                alice.post(&in_room(&room, "unban"), body).await.ok();
            }
        }
    }
}
