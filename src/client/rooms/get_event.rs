//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::room::get_room_event::v3::Request;
use stoa_rooms::Rooms;

use super::lazy_members::reader;
use crate::http::{Error, Result, Ruma, respond::json_bytes};

/// Gives one event. One that the user may not see is not found.
pub(crate) async fn get_event(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    let room = rooms.room(&body.room_id).await?;
    let (event, membership) = rooms.event(&session.user_id, &room, &body.event_id).await?;
    let device = reader(&session);
    let mut written = rooms.to_client(device.in_room(), [(&event, Some(&*membership))]).await?;
    let written = written.pop().ok_or_else(|| Error::internal("an event was not written"))?;
    Ok(json_bytes(written.get().to_owned()))
}
