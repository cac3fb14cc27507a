//! `POST /_matrix/client/v3/rooms/{roomId}/invite`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::invite_user::v3::{InvitationRecipient, Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Error, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::change_membership::change_membership;

/// Invites a user of this server.
pub(crate) async fn invite_user(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let InvitationRecipient::UserId(invitee) = body.recipient else {
        return Err(Error::invalid_param("Users can only be invited by their user ID."));
    };
    let change = MembershipChange::Invite(invitee.user_id);
    let (session, room_id) = (&request.session, &body.room_id);
    change_membership(&rooms, &profiles, &actor, session, room_id, change, invitee.reason).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn invited_users_can_join(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({})).await;
            let body = json!({ "user_id": bob.user_id, "reason": "why not" });
            assert_eq!(alice.post(&in_room(&room, "invite"), body).await.ok(), json!({}));
            let member = alice.state(&room, "m.room.member", &bob.user_id).await;
            assert_eq!(member, json!({ "membership": "invite", "reason": "why not" }));
            bob.join(&room).await;
        }

        async fn invites_need_permission(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let invite = in_room(&room, "invite");
            let user = |user: &str| json!({ "user_id": user });
            // Inviting oneself, a member, without the power level, and from outside the room.
            alice.post(&invite, user("@alice:test")).await.refused(403, "M_FORBIDDEN");
            alice.post(&invite, user("@bob:test")).await.refused(403, "M_FORBIDDEN");
            bob.post(&invite, user("@charlie:test")).await.refused(403, "M_FORBIDDEN");
            let charlie = server.register("charlie").await;
            charlie.post(&invite, user("@dave:test")).await.refused(403, "M_FORBIDDEN");
            alice.post(&invite, user("@x:elsewhere")).await.refused(403, "M_FORBIDDEN");
            alice.post(&invite, user("charlie")).await.refused(400, "M_BAD_JSON");
            alice.post(&invite, json!({})).await.refused(400, "M_BAD_JSON");
            let by_mail = json!({
                "id_server": "id.test", "id_access_token": "x", "medium": "email", "address": "a@b.c",
            });
            alice.post(&invite, by_mail).await.refused(400, "M_INVALID_PARAM");
            let nowhere = in_room("!nowhere:test", "invite");
            alice.post(&nowhere, user("@bob:test")).await.refused(403, "M_FORBIDDEN");
        }

        async fn a_creator_who_left_can_be_invited_back(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room =
                alice.create_room(json!({ "preset": "public_chat", "room_version": "11" })).await;
            bob.join(&room).await;
            let levels = json!({ "invite": 100, "users": { "@bob:test": 100 } });
            alice.set_state(&room, "m.room.power_levels", "", levels).await;
            alice.leave(&room).await;
            bob.invite(&room, "@alice:test").await;
            alice.join(&room).await;
        }
    }
}
