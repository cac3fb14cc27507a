//! `POST /_matrix/client/v3/rooms/{roomId}/forget`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::forget_room::v3::{Request, Response};
use stoa_rooms::Rooms;

use super::known_room;
use crate::http::{Answer, Result, Ruma};

/// Forgets a room that the user has left: he reads nothing of it any more, unless he joins again.
pub(crate) async fn forget(
    State(rooms): State<Arc<Rooms>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let room = known_room(&rooms, &request.body.room_id).await?;
    rooms.forget(&request.actor(), Some(&request.session.token_hash), &room).await?;
    Ok(Answer(Response::new()))
}
