//! `GET /_matrix/client/v3/joined_rooms`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::joined_rooms::v3::{Request, Response};
use stoa_rooms::Rooms;

use crate::http::{Answer, Result, Ruma};

/// Lists the rooms that the user is joined to.
pub(crate) async fn get_joined_rooms(
    State(rooms): State<Arc<Rooms>>,
    Ruma { session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let memberships = rooms.memberships(&session.user_id).await?;
    let mut joined = Vec::new();
    for membership in memberships.values().filter(|row| row.membership == "join") {
        joined.push(rooms.room_by_nid(membership.room).await?.id.clone());
    }
    joined.sort();
    Ok(Answer(Response::new(joined)))
}
