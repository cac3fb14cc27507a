//! `GET /_matrix/client/v3/rooms/{roomId}/messages`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::{
    Direction,
    client::{filter::LazyLoadOptions, message::get_message_events::v3::Request},
};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_rooms::{
    Event, Rooms,
    tokens::{PaginationToken, RoomToken},
};
use stoa_storage::repo::events::Order;
use stoa_sync::filter;

use super::lazy_members::{members_of_senders, reader};
use crate::http::{Error, Result, Ruma, respond::Json};

/// How many events one answer may have.
const MAX_LIMIT: usize = 1_000;

/// How many events one request may look at that the filter or the room's history visibility
/// withholds.
const MAX_LOOKED_AT: usize = 5_000;

/// Like ruma's, of events that are written already.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    chunk: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    state: Vec<Box<RawValue>>,
}

/// Gives a page of the room's events, in either direction.
pub(crate) async fn get_messages(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<Response>> {
    let refusal = || Error::forbidden("You are not in this room");
    let room = rooms.room(&body.room_id).await.map_err(|_| refusal())?;
    let state = rooms.visible_state(&session.user_id, &room).await?;
    let token = |name: &str, token: &Option<String>| {
        let token = token.as_deref().map(str::parse::<RoomToken>).transpose();
        token.map_err(|_| Error::invalid_param(format!("`{name}` is not a token of this server")))
    };
    let backward = body.dir == Direction::Backward;
    let (first, last) =
        if backward { (Order::END, Order::START) } else { (Order::START, Order::END) };
    let from = token("from", &body.from)?.map_or(first, RoomToken::order);
    let to = token("to", &body.to)?.map_or(last, RoomToken::order);
    let limit = usize::try_from(u64::from(body.limit)).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);

    let passes_room = filter::is_about(&body.filter, &room.id);
    let mut found: Vec<(Arc<Event>, String)> = Vec::new();
    let mut looked_at = 0;
    let mut at = from;
    let more = loop {
        let page = if backward {
            rooms.before(&room, at, to, limit).await?
        } else {
            rooms.after(&room, at, to, limit).await?
        };
        let Some(end) = page.events.last().and_then(|event| event.order) else { break false };
        looked_at += page.events.len();
        let seen = rooms.visible(&session.user_id, &room, page.events).await?;
        let wanted = seen
            .into_iter()
            .filter(|(event, _)| passes_room && filter::passes_event(&body.filter, event));
        let space = limit - found.len();
        let before = found.len();
        found.extend(wanted.take(space));
        let full = found.len() == limit;
        at = match found.last() {
            // The page may hold more that fits: the next one begins right after what is given.
            Some((event, _)) if full && found.len() > before => event.order.unwrap_or(end),
            _ => end,
        };
        if backward {
            at = PaginationToken::before(at).0;
        }
        if full || looked_at >= MAX_LOOKED_AT {
            break page.more || full;
        }
        if !page.more {
            break false;
        }
    };

    let device = reader(&session);
    let chunk = found.iter().map(|(event, membership)| (event, Some(&**membership)));
    let chunk = rooms.to_client(device.in_room(), chunk).await?;
    let members = match body.filter.lazy_load_options {
        LazyLoadOptions::Enabled { .. } => {
            members_of_senders(&rooms, state, found.iter().map(|(event, _)| event)).await?
        }
        LazyLoadOptions::Disabled => Vec::new(),
    };
    let state =
        rooms.to_client(device.in_room(), members.iter().map(|event| (event, None))).await?;
    let start = PaginationToken::after(from).to_string();
    // Forwards there may always be more to come.
    let end = (more || !backward).then(|| PaginationToken::after(at).to_string());
    Ok(Json(Response { start, end, chunk, state }))
}
