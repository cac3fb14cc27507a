//! `GET /_matrix/client/v3/rooms/{roomId}/state`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::state::get_state_events::v3::Request;
use stoa_rooms::{Rooms, state::Part};

use super::lazy_members::reader;
use crate::http::{Result, Ruma, respond::Json};

/// Gives the room's current state; to one who has left, the state at that time.
pub(crate) async fn get_state(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    use axum::response::IntoResponse as _;
    let room = rooms.room(&body.room_id).await?;
    let state = rooms.visible_state(&session.user_id, &room).await?;
    let events = rooms.state_events(state, Part::All).await?;
    let device = reader(&session);
    let written =
        rooms.to_client(device.in_room(), events.iter().map(|event| (event, None))).await?;
    Ok(Json(written).into_response())
}
