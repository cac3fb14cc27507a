//! `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::state::get_state_event_for_key::v3::{Request, StateEventFormat};
use stoa_rooms::Rooms;

use super::lazy_members::reader;
use crate::http::{Error, Result, Ruma, respond::json_bytes};

/// Gives one entry of the room's state: its content, or with `format=event` the whole event.
pub(crate) async fn get_state_event(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    let room = rooms.room(&body.room_id).await?;
    let event =
        rooms.state_entry(&session.user_id, &room, &body.event_type, &body.state_key).await?;
    if body.format != StateEventFormat::Event {
        return Ok(json_bytes(event.pdu.content.get().to_owned()));
    }
    let device = reader(&session);
    let mut written = rooms.to_client(device.in_room(), [(&event, None)]).await?;
    let written = written.pop().ok_or_else(|| Error::internal("an event was not written"))?;
    Ok(json_bytes(written.get().to_owned()))
}
