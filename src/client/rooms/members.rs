//! `GET /_matrix/client/v3/rooms/{roomId}/members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>

use std::sync::Arc;

use axum::extract::State;
use ruma::{UserId, api::client::membership::get_member_events::v3::Request};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_base::StateNid;
use stoa_rooms::{Result as RoomResult, Room, Rooms, state::Part, tokens::RoomToken};
use stoa_storage::repo::events::Order;

use super::lazy_members::reader;
use crate::http::{Error, Result, Ruma, respond::Json};

/// Like ruma's, of events that are written already.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    chunk: Vec<Box<RawValue>>,
}

/// Gives the member events of a room: of now, or of the point `at`; to one who has left, none later
/// than that.
pub(crate) async fn get_members(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<Response>> {
    let refusal = || Error::forbidden("You are not in this room");
    let room = rooms.room(&body.room_id).await.map_err(|_| refusal())?;
    let mut state = rooms.visible_state(&session.user_id, &room).await?;
    if let Some(at) = &body.at {
        let at: RoomToken =
            at.parse().map_err(|_| Error::invalid_param("`at` is not a token of this server"))?;
        let membership = rooms.membership(&session.user_id, &room).await?;
        let left = membership.filter(|row| row.membership != "join").map(|row| row.pos);
        let at = at.order().min(left.map_or(Order::END, Order::after));
        state = state_at(&rooms, &room, &session.user_id, at, state).await?;
    }
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

/// The state at a point of the room's order: after the last event up to it that the user may see.
/// A point before all of those means the first of them, since what came before is none of his
/// business; one after all of them, `latest`.
async fn state_at(
    rooms: &Rooms,
    room: &Room,
    user_id: &UserId,
    at: Order,
    latest: StateNid,
) -> RoomResult<StateNid> {
    let before = rooms.before(room, at, Order::START, 1).await?.events;
    if let Some((event, _)) = rooms.visible(user_id, room, before).await?.first() {
        return Ok(event.state_after.unwrap_or(latest));
    }
    let mut from = at;
    loop {
        let page = rooms.after(room, from, Order::END, 100).await?;
        let Some(last) = page.events.last().and_then(|event| event.order) else {
            return Ok(latest);
        };
        let seen = rooms.visible(user_id, room, page.events).await?;
        if let Some((event, _)) = seen.iter().find(|(_, membership)| membership == "join") {
            return Ok(event.state_after.unwrap_or(latest));
        }
        if !page.more {
            return Ok(latest);
        }
        from = last;
    }
}
