//! `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>

use std::sync::Arc;

use axum::{extract::State, response::Response as HttpResponse};
use ruma::api::client::{context::get_context::v3::Request, filter::LazyLoadOptions};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_base::StateNid;
use stoa_rooms::{
    Event, Rooms,
    state::{self, Part},
    tokens::PaginationToken,
};
use stoa_storage::repo::events::Order;
use stoa_sync::filter;

use super::lazy_members::{members_of_senders, reader};
use crate::http::{Admission, Error, Result, Ruma, admission::EVENT};

/// How many events one answer may have around the one asked for.
const MAX_LIMIT: usize = 100;

/// Like ruma's, of events that are written already.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    start: String,
    end: String,
    event: Box<RawValue>,
    events_before: Vec<Box<RawValue>>,
    events_after: Vec<Box<RawValue>>,
    state: Vec<Box<RawValue>>,
}

fn pairs(events: &[(Arc<Event>, String)]) -> impl Iterator<Item = (&Arc<Event>, Option<&str>)> {
    events.iter().map(|(event, membership)| (event, Some(&**membership)))
}

/// Gives an event with those around it, and the state after the last of them.
pub(crate) async fn get_context(
    State(rooms): State<Arc<Rooms>>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<HttpResponse> {
    let room = rooms.room(&body.room_id).await?;
    let user_id = &session.user_id;
    let (event, membership) = rooms.event(user_id, &room, &body.event_id).await?;
    let order = event.order.ok_or_else(|| Error::not_found("event not found"))?;
    let limit = usize::try_from(u64::from(body.limit)).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let before_limit = limit.div_ceil(2);
    // Of the event asked for, which differs little from that of the last one shown.
    let state = event.state_after.unwrap_or(state::EMPTY);
    let part = match body.filter.lazy_load_options {
        LazyLoadOptions::Disabled => Part::All,
        LazyLoadOptions::Enabled { .. } => Part::WithoutMembers,
    };
    let weight = EVENT * (limit as u64 + rooms.about_how_many([state], part).await?);
    let place = admission.admit(weight).await?;

    let until = PaginationToken::before(order).0;
    let before = rooms.before(&room, until, Order::START, before_limit).await?.events;
    let reach = rooms.reach(user_id, &room).await?;
    let after = rooms.after(&room, order, reach, limit - before_limit).await?.events;
    let edge = |events: &[Arc<Event>]| events.last().and_then(|event| event.order);
    let start = edge(&before).map_or(until, |order| PaginationToken::before(order).0);
    let end = edge(&after).unwrap_or(order);

    let passes = |event: &Arc<Event>| {
        filter::is_about(&body.filter, &room.id) && filter::passes_event(&body.filter, event)
    };
    let mut before = rooms.visible(user_id, &room, before).await?;
    before.retain(|(event, _)| passes(event));
    let mut after = rooms.visible(user_id, &room, after).await?;
    after.retain(|(event, _)| passes(event));

    let last = after.last().map_or(&event, |(event, _)| event);
    let at: StateNid = last.state_after.unwrap_or(state::EMPTY);
    let shown = || before.iter().chain(&after).map(|(event, _)| event).chain([&event]);
    let state = match body.filter.lazy_load_options {
        LazyLoadOptions::Disabled => rooms.state_events(at, Part::All).await?,
        LazyLoadOptions::Enabled { .. } => {
            let mut state = rooms.state_events(at, Part::WithoutMembers).await?;
            state.extend(members_of_senders(&rooms, at, shown()).await?);
            state
        }
    };

    let device = reader(&session);
    let mut written = rooms.to_client(device.in_room(), [(&event, Some(&*membership))]).await?;
    let event = written.pop().ok_or_else(|| Error::internal("an event was not written"))?;
    Ok(place.json(Response {
        start: PaginationToken::after(start).to_string(),
        end: PaginationToken::after(end).to_string(),
        event,
        events_before: rooms.to_client(device.in_room(), pairs(&before)).await?,
        events_after: rooms.to_client(device.in_room(), pairs(&after)).await?,
        state: rooms.to_client(device.in_room(), state.iter().map(|event| (event, None))).await?,
    }))
}
