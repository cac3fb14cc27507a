//! `GET /_matrix/client/v3/joined_rooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedRoomId,
    api::client::membership::joined_rooms::v3::{Request, Response},
};
use stoa_http::{Answer, Result, Ruma};
use stoa_rooms::Rooms;

/// Lists the rooms that the user is joined to.
pub(crate) async fn joined_rooms(
    State(rooms): State<Arc<Rooms>>,
    Ruma { session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let memberships = rooms.memberships.of(&session.user_id).await?;
    let joined = memberships.values().filter(|row| row.is_joined());
    let joined = rooms.known.by_nids(joined.map(|row| row.room)).await?;
    let mut joined: Vec<OwnedRoomId> = joined.values().map(|room| room.id.clone()).collect();
    joined.sort_unstable();
    Ok(Answer(Response::new(joined)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn only_joined_rooms_are_listed(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let list = async || bob.get("/_matrix/client/v3/joined_rooms").await.ok();
            assert_eq!(list().await, json!({ "joined_rooms": [] }));
            let made = bob.create_room(json!({})).await;
            let left = alice.create_public_room().await;
            bob.join(&left).await;
            bob.leave(&left).await;
            let invited = alice.create_room(json!({ "invite": ["@bob:test"] })).await;
            assert_eq!(list().await, json!({ "joined_rooms": [made] }));
            bob.join(&invited).await;
            let mut both = [made, invited];
            both.sort();
            assert_eq!(list().await, json!({ "joined_rooms": both }));
        }
    }
}
