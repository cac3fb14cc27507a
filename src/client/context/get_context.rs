//! `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>

use std::sync::Arc;

use axum::{extract::State, response::Response as HttpResponse};
use ruma::{
    EventId,
    api::client::{
        context::get_context::v3::Request,
        filter::{LazyLoadOptions, RoomEventFilter},
    },
    events::room::member::MembershipState,
};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_accounts::Sessions;
use stoa_base::Allowance;
use stoa_http::{Admission, Error, Result, Ruma, admission::EVENT};
use stoa_rooms::{
    Event, Room, Rooms, ShownEvent, VisibleState, state::Part, tokens::PaginationToken,
};
use stoa_storage::repo::events::Order;
use stoa_sync::filter::EventFilter;

use crate::ops::{
    large_answer,
    lazy_members::members_of_senders,
    reading_device::{ReadingDevice, reader},
};

/// How many events one answer may have around the one asked for.
const MAX_LIMIT: usize = 100;

/// Like ruma's, with events that are already serialized.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    start: String,
    end: String,
    event: Box<RawValue>,
    events_before: Vec<Box<RawValue>>,
    events_after: Vec<Box<RawValue>>,
    state: Vec<Box<RawValue>>,
}

fn pairs(events: &[ShownEvent]) -> impl Iterator<Item = (&Arc<Event>, Option<&MembershipState>)> {
    events.iter().map(|(event, membership)| (event, Some(membership)))
}

/// Returns an event with the events around it, and the state after the last of them as far as the
/// user may see it.
pub(crate) async fn get_context(
    State(rooms): State<Arc<Rooms>>,
    State(sessions): State<Arc<Sessions>>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<HttpResponse> {
    let room = rooms.known.by_id(&body.room_id).await?;
    let user_id = &session.user_id;
    let (event, _) = rooms.visibility.event(user_id, &room, &body.event_id).await?;
    let order = event.order.ok_or_else(|| Error::not_found("event not found"))?;
    let limit = usize::try_from(u64::from(body.limit)).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    // Estimated from the state at the requested event, which differs little from that at the last
    // event shown.
    let state = rooms.visible_states.after(user_id, &room, &event).await?;
    let part = match body.filter.lazy_load_options {
        LazyLoadOptions::Disabled => Part::All,
        LazyLoadOptions::Enabled { .. } => Part::WithoutMembers,
    };
    let weight = EVENT * (limit as u64 + rooms.states.about_how_many(state, part).await?);
    let context = Context {
        rooms: &rooms,
        room: &room,
        reader: reader(&session),
        filter: &body.filter,
        event_id: &body.event_id,
        order,
        limit,
        part,
    };
    let context = &context;
    let assemble = |allowance| async move { context.assemble(&allowance).await };
    let (answer, place) =
        large_answer::assemble(&sessions, &admission, &session, weight, assemble).await?;
    Ok(place.json(answer))
}

/// An event and its context, ready to be written.
struct Context<'a> {
    rooms: &'a Rooms,
    room: &'a Room,
    reader: ReadingDevice<'a>,
    filter: &'a RoomEventFilter,
    event_id: &'a EventId,
    order: Order,
    limit: usize,
    part: Part,
}

impl Context<'_> {
    async fn assemble(&self, allowance: &Allowance) -> Result<Response> {
        let Self { rooms, room, filter, event_id, order, .. } = self;
        let reader = self.reader.in_room();
        // Read again, because it may have been redacted while this answer waited for memory.
        let (event, membership) = rooms.visibility.event(reader.user_id, room, event_id).await?;
        let before_limit = self.limit.div_ceil(2);
        let until = PaginationToken::before(*order).0;
        let before =
            rooms.timelines.unchecked_before(room, until, Order::START, before_limit, allowance);
        let before = before.await?.events;
        let reach = rooms.visibility.reach(reader.user_id, room).await?;
        let after = rooms.timelines.unchecked_after(
            room,
            *order,
            reach,
            self.limit - before_limit,
            allowance,
        );
        let after = after.await?.events;
        let edge = |events: &[Arc<Event>]| events.last().and_then(|event| event.order);
        let start = edge(&before).map_or(until, |order| PaginationToken::before(order).0);
        let end = edge(&after).unwrap_or(*order);

        let wanted = EventFilter::from(*filter);
        let passes = |event: &Arc<Event>| wanted.is_about(&room.id) && wanted.passes_event(event);
        let mut before = rooms.visibility.visible(reader.user_id, room, before).await?;
        before.retain(|(event, _)| passes(event));
        let mut after = rooms.visibility.visible(reader.user_id, room, after).await?;
        after.retain(|(event, _)| passes(event));

        let last = after.last().map_or(&event, |(event, _)| event);
        // A user who may see an event may not always see the state there: for example, at their own
        // ban.
        let at = rooms.visible_states.after(reader.user_id, room, last).await?;
        let at = at.unwrap_or(VisibleState::NOTHING);
        let shown = || before.iter().chain(&after).map(|(event, _)| event).chain([&event]);
        let members = match filter.lazy_load_options {
            LazyLoadOptions::Disabled => Vec::new(),
            LazyLoadOptions::Enabled { .. } => {
                members_of_senders(rooms, at, shown(), allowance).await?
            }
        };
        let mut state =
            rooms.client_format.write_state(reader, at, self.part, |_| true, allowance).await?;
        state.extend(rooms.client_format.state_to_client(reader, &members, allowance).await?);

        let itself = [(&event, Some(&membership))];
        let mut written = rooms.client_format.to_client(reader, itself, allowance).await?;
        let event = written.pop().ok_or_else(|| Error::internal("an event was not written"))?;
        Ok(Response {
            start: PaginationToken::after(start).to_string(),
            end: PaginationToken::after(end).to_string(),
            event,
            events_before: rooms.client_format.to_client(reader, pairs(&before), allowance).await?,
            events_after: rooms.client_format.to_client(reader, pairs(&after), allowance).await?,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};
    use stoa_testing::{TestClient, TestServer, both_databases, encode, in_room};

    async fn context(client: &TestClient, room: &str, event: &str, query: &str) -> Value {
        let path = in_room(room, &format!("context/{}?{query}", encode(event)));
        client.get(&path).await.ok()
    }

    fn ids(events: &Value) -> Vec<String> {
        let events = events.as_array().unwrap().iter();
        events.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    }

    both_databases! {
        async fn users_who_were_never_in_the_room_get_no_state(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for visibility in ["joined", "invited", "shared"] {
                let initial = json!([
                    { "type": "m.room.history_visibility", "content": { "history_visibility": visibility } },
                    { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
                    { "type": "test.secret", "content": { "plan": "x" } },
                ]);
                let room = alice.create_room(json!({ "initial_state": initial })).await;
                let names = ["declined", "retracted", "banned", "refused", "invited"];
                for name in names {
                    let user = server.register(&format!("{name}-{visibility}")).await;
                    let knock = format!("/_matrix/client/v3/knock/{}", encode(&room));
                    match name {
                        "retracted" | "refused" => drop(user.post(&knock, json!({})).await.ok()),
                        "banned" => {}
                        _ => alice.invite(&room, &user.user_id).await,
                    }
                    let other = json!({ "user_id": user.user_id });
                    match name {
                        "declined" | "retracted" => user.leave(&room).await,
                        "banned" => drop(alice.post(&in_room(&room, "ban"), other).await.ok()),
                        "refused" => drop(alice.post(&in_room(&room, "kick"), other).await.ok()),
                        _ => {}
                    }
                    let key = encode(&user.user_id);
                    let path = in_room(&room, &format!("state/m.room.member/{key}?format=event"));
                    let event = alice.get(&path).await.ok()["event_id"].as_str().unwrap().to_owned();
                    for query in ["", "filter=%7B%22lazy_load_members%22%3Atrue%7D"] {
                        let shown = context(&user, &room, &event, query).await;
                        assert_eq!(ids(&json!([shown["event"]])), [&*event]);
                        assert_eq!(shown["state"], json!([]), "{name} in {visibility}");
                    }
                    let end = context(&user, &room, &event, "").await["end"].clone();
                    let end = encode(end.as_str().unwrap());
                    for path in
                        ["state", "members", "joined_members", &format!("members?at={end}")]
                    {
                        user.get(&in_room(&room, path)).await.refused(403, "M_FORBIDDEN");
                    }
                }
            }
        }

        async fn former_members_are_shown_the_state_of_when_they_left(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            alice.set_state(&room, "m.room.name", "", json!({ "name": "then" })).await;
            bob.leave(&room).await;
            alice.set_state(&room, "m.room.name", "", json!({ "name": "later" })).await;
            alice.post(&in_room(&room, "ban"), json!({ "user_id": "@bob:test" })).await.ok();
            let path = in_room(&room, "state/m.room.member/@bob:test?format=event");
            let ban = alice.get(&path).await.ok()["event_id"].as_str().unwrap().to_owned();
            let shown = context(&bob, &room, &ban, "").await;
            let state = shown["state"].as_array().unwrap().iter();
            let names: Vec<_> = state
                .filter(|event| event["type"] == "m.room.name")
                .map(|event| event["content"]["name"].clone())
                .collect();
            assert_eq!(names, ["then"]);
        }

        async fn the_pages_around_a_context_continue_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let mut sent = Vec::new();
            for count in 0..20 {
                sent.push(alice.send(&room, &count.to_string()).await);
            }
            let all = alice.get(&in_room(&room, "messages?dir=f&limit=100")).await.ok();
            let all = ids(&all["chunk"]);
            let no_messages = encode(r#"{"not_types":["m.room.message"]}"#);
            for limit in 0..12 {
                for query in ["", &format!("filter={no_messages}")] {
                    let query = format!("limit={limit}&{query}");
                    let shown = context(&alice, &room, &sent[10], &query).await;
                    let mut seen: BTreeSet<String> = BTreeSet::from([sent[10].clone()]);
                    let (before, after) = (ids(&shown["events_before"]), ids(&shown["events_after"]));
                    assert!(before.len() + after.len() <= limit, "{query}");
                    seen.extend(before.into_iter().chain(after));
                    for (direction, token) in [("b", &shown["start"]), ("f", &shown["end"])] {
                        let token = encode(token.as_str().unwrap());
                        let page = format!("messages?dir={direction}&limit=100&from={token}");
                        for id in ids(&alice.get(&in_room(&room, &page)).await.ok()["chunk"]) {
                            assert!(seen.insert(id.clone()), "{id} is given twice: {query}");
                        }
                    }
                    if !query.contains("filter") {
                        assert_eq!(seen, all.iter().cloned().collect(), "{query}");
                    }
                }
            }
        }
    }
}
