//! `GET /_matrix/client/v3/sync`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use ruma::{
    UserId,
    api::client::{
        filter::{FilterDefinition, LazyLoadOptions},
        sync::sync_events::v3::{Filter as RequestFilter, Request},
    },
};
use stoa_accounts::{AccountData, Accounts, Filter, Filters};
use stoa_base::Allowance;
use stoa_http::{
    Admission, Class, Error, Limits, Result, Ruma,
    admission::{EVENT, LARGER, SMALL},
    respond::Json,
};
use stoa_rooms::{RoomError, Rooms, state::Part, tokens::SyncToken};
use stoa_sync::{Reader, Sources, v3};

use crate::ops::large_answer;

/// What an initial sync costs, in heavy reads.
const FULL_SYNC: usize = 10;

/// How many bytes an incremental sync may take without reserving memory for a large answer.
const LIGHT: u64 = SMALL;

/// An incremental sync is charged one heavy read for this many bytes of reserved memory.
const HEAVY: u64 = LARGER * LIGHT;

/// Returns what is new, or waits until something is.
pub(crate) async fn sync_events(
    State(accounts): State<Arc<Accounts>>,
    State(sources): State<Arc<Sources>>,
    State(rooms): State<Arc<Rooms>>,
    State(limits): State<Limits>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    let filter = WantedFilter::find(&accounts.filters, &session.user_id, body.filter).await?;
    let since = body.since.as_deref().map(str::parse::<SyncToken>).transpose();
    let request = v3::Request {
        since: since.map_err(|error| Error::invalid_param(format!("`since`: {error}.")))?,
        filter: filter.definition(),
        full_state: body.full_state,
        use_state_after: body.use_state_after,
        timeout: body.timeout.unwrap_or_default(),
    };
    let request = v3::checked(&sources, request).await?;
    let allowance = Allowance::new(LIGHT);
    let reader = Reader::new(&session.user_id, session.device_key()).within(allowance.clone());
    if !request.is_whole() {
        let answer = v3::sync_checked(&sources, &reader, request).await;
        // If too much has happened for a light answer, memory is reserved.
        if !allowance.is_exceeded() {
            let answer = answer?;
            // The user may have been logged out while the request waited, and must not see what
            // happened since.
            if !request.timeout.is_zero() {
                accounts.sessions.check_goes_on(&session).await?;
            }
            return Ok(Json(answer).into_response());
        }
    }
    // Even if it is large because of others' events, it is charged like other heavy reads.
    let paid = AtomicUsize::new(if request.is_whole() { FULL_SYNC } else { 1 });
    limits.charge(Class::HeavyReads, &session.user_id, paid.load(Ordering::Relaxed))?;
    // Boxed, so that the futures of light syncs do not have the size of this one.
    let large = Box::pin(async {
        let weight = if request.is_whole() {
            weight_of_all(&rooms, &accounts.account_data, &session.user_id, request.filter).await?
        } else {
            HEAVY
        };
        let (sources, reader, paid, limits) = (&sources, &reader, &paid, &limits);
        // No memory stays reserved while a sync waits for news.
        let request = v3::Request { timeout: Duration::ZERO, ..request };
        let assemble = |allowance: Allowance| async move {
            // If a client was away for so long that this is like an initial sync, it is charged as
            // one.
            let cost =
                usize::try_from(allowance.left() / HEAVY).unwrap_or(FULL_SYNC).min(FULL_SYNC);
            let more = cost.saturating_sub(paid.fetch_max(cost, Ordering::Relaxed));
            limits.charge(Class::HeavyReads, &reader.user_id, more)?;
            let reader = reader.clone().within(allowance);
            Ok(v3::sync_checked(sources, &reader, request).await?)
        };
        large_answer::assemble(&accounts.sessions, &admission, &session, weight, assemble).await
    });
    let (answer, place) = large.await?;
    Ok(place.json(answer))
}

/// About how much memory it takes to build an initial sync.
async fn weight_of_all(
    rooms: &Rooms,
    account_data: &AccountData,
    user_id: &UserId,
    filter: &FilterDefinition,
) -> Result<u64> {
    let memberships = rooms.memberships.of(user_id).await?;
    let joined = memberships.values().filter(|membership| membership.is_joined());
    let found = rooms.known.by_nids(joined.map(|membership| membership.room)).await?;
    let part = match filter.room.state.lazy_load_options {
        LazyLoadOptions::Disabled => Part::All,
        LazyLoadOptions::Enabled { .. } => Part::WithoutMembers,
    };
    let mut states = Vec::new();
    for room in found.values().filter(|room| v3::passes_room(&filter.room, &room.id)) {
        match rooms.visible_states.now(user_id, room).await {
            Ok(state) => states.push(state),
            // The user has just left the room, and nothing of it is sent.
            Err(RoomError::Forbidden(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let timelines = (v3::timeline_limit(filter) as u64).saturating_mul(states.len() as u64);
    let events = rooms.states.about_how_many(states, part).await?.saturating_add(timelines);
    // Account data is read, and written into the answer.
    let account_data = 2 * account_data.bytes(user_id).await?;
    Ok(EVENT.saturating_mul(events).saturating_add(account_data))
}

/// A filter that is stored, or given in the request.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum WantedFilter {
    Stored(Arc<Filter>),
    Given(FilterDefinition),
}

impl WantedFilter {
    async fn find(
        filters: &Filters,
        user_id: &UserId,
        filter: Option<RequestFilter>,
    ) -> Result<Self> {
        match filter {
            None => Ok(Self::Given(FilterDefinition::default())),
            Some(RequestFilter::FilterDefinition(definition)) => Ok(Self::Given(definition)),
            // ruma's type takes JSON that does not parse as a filter for an ID.
            Some(RequestFilter::FilterId(id)) if id.starts_with('{') => {
                Err(Error::bad_json("`filter` is not a filter."))
            }
            Some(RequestFilter::FilterId(id)) => {
                let filter = filters.get(user_id, &id).await?;
                let unknown = || Error::invalid_param("`filter`: you have no such filter.");
                filter.map(Self::Stored).ok_or_else(unknown)
            }
            Some(_) => Err(Error::invalid_param("`filter` must be a filter or a filter ID.")),
        }
    }

    fn definition(&self) -> &FilterDefinition {
        match self {
            Self::Stored(filter) => &filter.definition,
            Self::Given(definition) => definition,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use stoa_testing::{PASSWORD, TestClient, TestServer, both_databases, encode};
    use tokio::time::sleep;

    const PATH: &str = "/_matrix/client/v3/sync";
    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

    /// Syncs from the token of another answer.
    async fn since(client: &TestClient, before: &Value, rest: &str) -> Value {
        let token = encode(before["next_batch"].as_str().unwrap());
        client.get(&format!("{PATH}?since={token}{rest}")).await.ok()
    }

    both_databases! {
        async fn the_creator_gets_the_new_room_in_sync(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let before = alice.get(PATH).await.ok();
            let room = alice.create_room(json!({})).await;
            let made = since(&alice, &before, "").await;
            let news = &made["rooms"]["join"][&room];
            assert_eq!(news["state"]["events"], json!([]));
            assert!(news["timeline"]["limited"].is_boolean(), "{news}");
            let events = news["timeline"]["events"].as_array().unwrap();
            assert!(events.iter().all(|event| event["sender"] == "@alice:test"), "{news}");
            assert_eq!(events[0]["type"], "m.room.create");
            assert_eq!(events[1]["type"], "m.room.member");
            assert_eq!(events[1]["content"], json!({ "membership": "join" }));

            let topic = alice.set_state(&room, "m.room.topic", "", json!({ "topic": "x" })).await;
            let told = since(&alice, &made, "").await;
            let timeline = &told["rooms"]["join"][&room]["timeline"];
            let [event] = &timeline["events"].as_array().unwrap()[..] else { panic!("{told}") };
            assert_eq!((&event["event_id"], &event["state_key"]), (&json!(topic), &json!("")));
            assert_eq!(event["content"], json!({ "topic": "x" }));

            // Unchanged state is not sent again, unless the full state is asked for.
            let nothing = since(&alice, &told, "").await;
            assert_eq!(nothing["rooms"], json!(null));
            let all = since(&alice, &told, "&full_state=true").await;
            let state = all["rooms"]["join"][&room]["state"]["events"].as_array().unwrap();
            assert!(state.iter().any(|event| event["type"] == "m.room.create"), "{all}");
        }

        async fn a_filter_is_given_or_named(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({})).await;
            alice.send(&room, "one").await;
            alice.send(&room, "two").await;
            let filter = json!({ "room": { "timeline": { "limit": 1 } } });
            let path = "/_matrix/client/v3/user/@alice:test/filter";
            let stored = alice.post(path, filter.clone()).await.ok();
            for filter in [stored["filter_id"].as_str().unwrap(), &filter.to_string()] {
                let answer = alice.get(&format!("{PATH}?filter={}", encode(filter))).await.ok();
                let timeline = &answer["rooms"]["join"][&room]["timeline"];
                assert_eq!(timeline["events"].as_array().unwrap().len(), 1, "{filter}");
                assert_eq!(timeline["limited"], true);
            }
            for (query, code) in [
                ("filter=unheard-of", "M_INVALID_PARAM"),
                ("filter=%7B%22room%22%3A1%7D", "M_BAD_JSON"),
                ("since=yesterday", "M_INVALID_PARAM"),
            ] {
                alice.get(&format!("{PATH}?{query}")).await.refused(400, code);
            }
        }

        async fn a_client_is_given_the_fields_that_it_wants(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({ "name": "name" })).await;
            let content = json!({ "body": "hello", "a.b": { "c": 1, "d": 2 } });
            alice.send_event(&room, "m.room.message", content).await;
            let filter = json!({
                "event_fields": ["type", "content.body", "content.name", r"content.a\.b.c"],
                "room": { "timeline": { "limit": 1 } },
            });
            let path = "/_matrix/client/v3/user/@alice:test/filter";
            let stored = alice.post(path, filter.clone()).await.ok();
            for filter in [stored["filter_id"].as_str().unwrap(), &filter.to_string()] {
                let answer = alice.get(&format!("{PATH}?filter={}", encode(filter))).await.ok();
                let room = &answer["rooms"]["join"][&room];
                let content = json!({ "body": "hello", "a.b": { "c": 1 } });
                let message = json!({ "type": "m.room.message", "content": content });
                assert_eq!(room["timeline"]["events"], json!([message]));
                let state = room["state"]["events"].as_array().unwrap();
                let name = json!({ "type": "m.room.name", "content": { "name": "name" } });
                assert!(state.contains(&name), "{room}");
                assert!(state.iter().all(|event| event.get("sender").is_none()), "{room}");
            }
        }

        async fn a_client_logged_out_while_waiting_is_sent_nothing(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let login = json!({
                "type": "m.login.password", "user": "bob", "password": PASSWORD,
                "refresh_token": true,
            });
            let session = bob.post("/_matrix/client/v3/login", login).await.ok();
            let phone = bob.with_session(&session);
            let before = phone.get(PATH).await.ok();
            let token = encode(before["next_batch"].as_str().unwrap());
            let path = format!("{PATH}?since={token}&timeout=60000");
            let beginning = || sleep(Duration::from_millis(300));

            // A session whose token is refreshed continues.
            let refreshing = async {
                beginning().await;
                let refresh = json!({ "refresh_token": session["refresh_token"] });
                let new = phone.post("/_matrix/client/v3/refresh", refresh).await.ok();
                let new = phone.with_token(new["access_token"].as_str().unwrap());
                new.get(WHOAMI).await.ok();
                phone.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
                alice.send(&room, "one").await;
                new
            };
            let (answer, phone) = tokio::join!(phone.get(&path), refreshing);
            let timeline = answer.ok()["rooms"]["join"][&room]["timeline"]["events"].clone();
            assert_eq!(timeline[0]["content"]["body"], "one");

            let ending = async {
                beginning().await;
                bob.post("/_matrix/client/v3/logout/all", json!({})).await.ok();
                alice.send(&room, "two").await;
            };
            let path = path.replace(&token, &encode(answer.json()["next_batch"].as_str().unwrap()));
            let (answer, ()) = tokio::join!(phone.get(&path), ending);
            answer.refused(401, "M_UNKNOWN_TOKEN");
        }

        async fn a_new_profile_appears_in_every_room(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let mut before = bob.get(PATH).await.ok();
            for field in ["displayname", "avatar_url"] {
                let profile = format!("/_matrix/client/v3/profile/@alice:test/{field}");
                alice.put(&profile, json!({ field: "LemurLover" })).await.ok();
                before = since(&bob, &before, "").await;
                let event = &before["rooms"]["join"][&room]["timeline"]["events"][0];
                assert_eq!(event["state_key"], "@alice:test", "{before}");
                assert_eq!(event["content"]["membership"], "join");
                assert_eq!(event["content"][field], "LemurLover");
            }
        }
    }
}
