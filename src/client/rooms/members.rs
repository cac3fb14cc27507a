//! `GET /_matrix/client/v3/rooms/{roomId}/members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::membership::get_member_events::v3::Request;
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_rooms::{Rooms, state::Part, tokens::RoomToken};

use super::{known_room, lazy_members::reader};
use crate::http::{Error, Result, Ruma, respond::Json};

/// Like ruma's, of events that are written already.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    chunk: Vec<Box<RawValue>>,
}

/// Gives the member events of a room: of now, or of the point `at`; to one who has left, those of
/// the time when he left.
pub(crate) async fn get_members(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<Response>> {
    let room = known_room(&rooms, &body.room_id).await?;
    let user_id = &session.user_id;
    let state = match &body.at {
        None => rooms.visible_state(user_id, &room).await?,
        Some(at) => {
            let at: RoomToken =
                at.parse().map_err(|error| Error::invalid_param(format!("`at`: {error}.")))?;
            rooms.visible_state_at(user_id, &room, at.order()).await?
        }
    };
    let wanted = |membership: &str| match (&body.membership, &body.not_membership) {
        (None, None) => true,
        (only, but) => {
            only.as_ref().is_some_and(|only| only.as_str() == membership)
                || but.as_ref().is_some_and(|but| but.as_str() != membership)
        }
    };
    let mut members = rooms.state_events(state, Part::Members).await?;
    members.retain(|event| event.membership().is_some_and(|membership| wanted(&membership)));
    let device = reader(&session);
    let chunk =
        rooms.to_client(device.in_room(), members.iter().map(|event| (event, None))).await?;
    Ok(Json(Response { chunk }))
}
