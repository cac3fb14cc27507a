//! `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::config::set_room_account_data::v3::{Request, Response};
use stoa_accounts::AccountData;
use stoa_http::{Answer, Error, Result, Ruma};
use stoa_rooms::Rooms;

use super::UNIT;
use crate::ops::own_user::check_own_user;

/// Sets account data of one type for a room that the user is or was in.
pub(crate) async fn set_room_account_data(
    State(account_data): State<Arc<AccountData>>,
    State(rooms): State<Arc<Rooms>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let body = &request.body;
    check_own_user(&body.user_id, &request.session.user_id)?;
    let room = rooms.known.by_id(&body.room_id).await?;
    if rooms.memberships.in_room(&body.user_id, &room).await?.is_none() {
        return Err(Error::forbidden("You are not in this room"));
    }
    request.budget.charge(&body.user_id, request.raw.len() / UNIT)?;
    let kind = body.event_type.to_string();
    account_data.set(&request.actor(), Some(room.nid), &kind, body.data.json()).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn room_account_data_is_returned_and_replaced(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let bob = server.register("bob").await;
            let room = alice.post("/_matrix/client/v3/createRoom", json!({})).await.ok();
            let room = room["room_id"].as_str().unwrap();
            let path =
                |user| format!("/_matrix/client/v3/user/@{user}:test/rooms/{room}/account_data/test.key");
            alice.get(&path("alice")).await.refused(404, "M_NOT_FOUND");
            for value in [json!({ "value": "first" }), json!({ "value": 2 })] {
                assert_eq!(alice.put(&path("alice"), value.clone()).await.ok(), json!({}));
                assert_eq!(alice.get(&path("alice")).await.ok(), value);
            }
            bob.get(&path("alice")).await.refused(403, "M_FORBIDDEN");
            bob.put(&path("alice"), json!({})).await.refused(403, "M_FORBIDDEN");
            bob.put(&path("bob"), json!({})).await.refused(403, "M_FORBIDDEN");
        }
    }
}
