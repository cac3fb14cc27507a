//! `GET /_matrix/client/v3/rooms/{roomId}/messages`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>

use std::sync::Arc;

use axum::{extract::State, response::Response as HttpResponse};
use ruma::api::{
    Direction,
    client::{
        filter::{LazyLoadOptions, RoomEventFilter},
        message::get_message_events::v3::Request,
    },
};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_accounts::Sessions;
use stoa_base::Allowance;
use stoa_http::{Admission, Error, Result, Ruma, admission::EVENT};
use stoa_rooms::{Room, Rooms, ShownEvent, VisibleState, tokens::RoomToken};
use stoa_storage::repo::events::Order;
use stoa_sync::filter::EventFilter;

use crate::ops::{
    find_room::known_room,
    large_answer,
    lazy_members::members_of_senders,
    reading_device::{ReadingDevice, reader},
    walk::Walk,
};

/// How many events one answer may have.
const MAX_LIMIT: usize = 1_000;

/// How many bytes of events one answer may have. It ends with the event that reaches this limit,
/// and the client continues from there.
const MAX_BYTES: usize = 1 << 20;

/// Like ruma's, with events that are already serialized.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    chunk: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    state: Vec<Box<RawValue>>,
}

/// Returns a page of the room's events, in either direction.
pub(crate) async fn get_message_events(
    State(rooms): State<Arc<Rooms>>,
    State(sessions): State<Arc<Sessions>>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<HttpResponse> {
    let room = known_room(&rooms, &body.room_id).await?;
    let user_id = &session.user_id;
    // A user who may see nothing of the room at all is refused.
    rooms.visible_states.now(user_id, &room).await?;
    let (from, to) = (token("from", body.from.as_deref())?, token("to", body.to.as_deref())?);
    let limit = usize::try_from(u64::from(body.limit)).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);
    let wanted = Wanted {
        rooms: &rooms,
        room: &room,
        reader: reader(&session),
        filter: &body.filter,
        direction: body.dir,
        from,
        to,
        limit,
    };
    let wanted = &wanted;
    let assemble = |allowance| async move { wanted.assemble(&allowance).await };
    let weight = EVENT * limit as u64;
    let (mut answer, place) =
        large_answer::assemble(&sessions, &admission, &session, weight, assemble).await?;
    // Clients recognize the page by it, so it is exactly the text that they sent.
    answer.start = body.from.unwrap_or(answer.start);
    Ok(place.json(answer))
}

/// The page that the request asks for.
struct Wanted<'a> {
    rooms: &'a Rooms,
    room: &'a Room,
    reader: ReadingDevice<'a>,
    filter: &'a RoomEventFilter,
    direction: Direction,
    from: Option<Order>,
    to: Option<Order>,
    limit: usize,
}

impl Wanted<'_> {
    async fn assemble(&self, allowance: &Allowance) -> Result<Response> {
        let Self { rooms, room, filter, .. } = self;
        let reader = self.reader.in_room();
        let mut walk =
            Walk::new(rooms, room, reader.user_id, self.direction, self.from, self.to).await?;
        let mut found: Vec<ShownEvent> = Vec::new();
        let passed = EventFilter::from(*filter);
        let is_about = passed.is_about(&room.id);
        let mut bytes = 0;
        if is_about {
            while found.len() < self.limit
                && bytes < MAX_BYTES
                && let Some(seen) = walk.next(self.limit, allowance).await?
            {
                if passed.passes_event(&seen.0) {
                    bytes += seen.0.pdu.json().len();
                    found.push(seen);
                } else {
                    allowance.give_back(seen.0.weight() as u64);
                }
            }
        }

        let chunk = found.iter().map(|(event, membership)| (event, Some(membership)));
        let chunk = rooms.client_format.to_client(reader, chunk, allowance).await?;
        let newest = match self.direction {
            Direction::Backward => found.first(),
            Direction::Forward => found.last(),
        };
        let members = match (&filter.lazy_load_options, newest) {
            (LazyLoadOptions::Enabled { .. }, Some((newest, _))) => {
                let state = rooms.visible_states.after(reader.user_id, room, newest).await?;
                let state = state.unwrap_or(VisibleState::NOTHING);
                members_of_senders(rooms, state, found.iter().map(|(event, _)| event), allowance)
                    .await?
            }
            _ => Vec::new(),
        };
        let state = rooms.client_format.state_to_client(reader, &members, allowance).await?;
        // At the newest event, more events may follow, so the client can ask for them from there.
        let is_end = walk.is_end() && (self.direction == Direction::Backward || found.is_empty());
        let is_end = is_end || !is_about;
        let end = (!is_end).then(|| walk.at().to_string());
        Ok(Response { start: walk.start().to_string(), end, chunk, state })
    }
}

fn token(name: &str, token: Option<&str>) -> Result<Option<Order>> {
    let token = token.map(str::parse::<RoomToken>).transpose();
    let token = token.map_err(|error| Error::invalid_param(format!("`{name}`: {error}.")))?;
    Ok(token.map(RoomToken::order))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stoa_testing::{TestClient, TestServer, both_databases, encode, in_room};

    /// The token from which a client continues that has just synced.
    async fn token(client: &TestClient) -> String {
        let synced = client.get("/_matrix/client/v3/sync").await.ok();
        encode(synced["next_batch"].as_str().unwrap())
    }

    /// The body of each message of a page, and the type of every other event.
    fn brief(page: &Value) -> Vec<&str> {
        let events = page["chunk"].as_array().unwrap().iter();
        let texts =
            events.map(|event| event["content"]["body"].as_str().or(event["type"].as_str()));
        texts.map(Option::unwrap).collect()
    }

    /// The users whose member events come with a page. All of them are in the room.
    fn members(page: &Value) -> Vec<&str> {
        let events = page["state"].as_array().unwrap();
        for event in events {
            assert_eq!(event["type"], "m.room.member");
            assert_eq!(event["content"]["membership"], "join");
        }
        events.iter().map(|event| event["state_key"].as_str().unwrap()).collect()
    }

    both_databases! {
        async fn paging_forward_from_a_sync_token_gives_later_events(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let from = token(&alice).await;
            let sent = alice.send(&room, "hello").await;
            let path = in_room(&room, &format!("messages?dir=f&from={from}"));
            let page = alice.get(&path).await.ok();
            assert_eq!(brief(&page), ["hello"]);
            assert_eq!(page["chunk"][0]["event_id"], sent);
            assert_eq!(page["chunk"][0]["room_id"], room);
        }

        async fn outsiders_read_nothing(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({})).await;
            for room in [&*room, "!does-not-exist:test"] {
                let answer = bob.get(&in_room(room, "messages?dir=b")).await;
                answer.refused(403, "M_FORBIDDEN");
            }
        }

        async fn the_senders_of_a_page_come_with_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let (bob, charlie) = (server.register("bob").await, server.register("charlie").await);
            let room = alice.create_public_room().await;
            let get = async |query: &str| {
                alice.get(&in_room(&room, &format!("messages?{query}"))).await.ok()
            };
            let lazily = encode(r#"{"lazy_load_members":true}"#);
            let alone = token(&alice).await;
            bob.join(&room).await;
            charlie.join(&room).await;
            bob.send(&room, "earlier").await;
            let before = token(&alice).await;
            charlie.send(&room, "now").await;
            let after = token(&alice).await;

            let page = get(&format!("dir=f&from={before}&to={after}&filter={lazily}")).await;
            assert_eq!(brief(&page), ["now"]);
            assert_eq!(members(&page), ["@charlie:test"]);
            let page = get(&format!("dir=b&from={after}&limit=2&filter={lazily}")).await;
            assert_eq!(brief(&page), ["now", "earlier"]);
            assert_eq!(members(&page), ["@bob:test", "@charlie:test"]);
            let page = get(&format!("dir=b&from={alone}&filter={lazily}")).await;
            assert_eq!(members(&page), ["@alice:test"]);
            let page = get(&format!("dir=f&from={before}&to={after}")).await;
            assert_eq!(page["state"], json!(null), "not asked for");
        }

        async fn start_is_the_given_from(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            alice.send(&room, "hello").await;
            let synced = alice.get("/_matrix/client/v3/sync").await.ok();
            let page = alice.get(&in_room(&room, "messages?dir=b&limit=1")).await.ok();
            // A token of a sync, one of a page, and none.
            for from in [&synced["next_batch"], &page["end"], &page["start"]] {
                for direction in ["b", "f"] {
                    let token = encode(from.as_str().unwrap());
                    let query = format!("messages?dir={direction}&from={token}");
                    let page = alice.get(&in_room(&room, &query)).await.ok();
                    assert_eq!(page["start"], *from);
                }
            }
            let start = encode(page["start"].as_str().unwrap());
            let again = in_room(&room, &format!("messages?dir=b&limit=1&from={start}"));
            let again = alice.get(&again).await.ok();
            assert_eq!((&again["start"], &again["end"]), (&page["start"], &page["end"]));
            assert_eq!(brief(&again), brief(&page));
        }

        async fn senders_are_included_only_if_the_reader_may_see_the_state(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let carol = server.register("carol").await;
            let room = alice.create_room(json!({ "preset": "private_chat" })).await;
            let lazily = encode(r#"{"lazy_load_members":true}"#);
            let path = in_room(&room, &format!("messages?dir=b&filter={lazily}"));
            alice.invite(&room, "@bob:test").await;
            bob.join(&room).await;
            bob.leave(&room).await;
            let name = json!({ "membership": "join", "displayname": "later" });
            alice.set_state(&room, "m.room.member", "@alice:test", name).await;
            alice.post(&in_room(&room, "ban"), json!({ "user_id": "@bob:test" })).await.ok();
            let page = bob.get(&path).await.ok();
            assert_eq!(page["chunk"][0]["content"]["membership"], "ban");
            let of_alice = page["state"].as_array().unwrap().iter();
            let mut of_alice = of_alice.filter(|event| event["state_key"] == "@alice:test");
            assert_eq!(of_alice.next().unwrap()["content"].get("displayname"), None);
            alice.invite(&room, "@carol:test").await;
            carol.leave(&room).await;
            carol.get(&path).await.refused(403, "M_FORBIDDEN");
        }

        async fn former_members_read_up_to_their_leave(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let history = json!([{
                "type": "m.room.history_visibility", "content": { "history_visibility": "joined" },
            }]);
            let request = json!({ "preset": "public_chat", "initial_state": history });
            let room = alice.create_room(request).await;
            bob.join(&room).await;
            alice.send(&room, "one").await;
            alice.send(&room, "two").await;
            bob.leave(&room).await;
            let left = token(&bob).await;
            alice.send(&room, "three").await;
            for from in [left, token(&bob).await] {
                let page = |query: &str| in_room(&room, &format!("messages?from={from}&{query}"));
                let back = bob.get(&page("dir=b&limit=3")).await.ok();
                assert_eq!(brief(&back), ["m.room.member", "two", "one"]);
                assert_eq!(back["chunk"][0]["state_key"], "@bob:test");
                let ahead = bob.get(&page("dir=f&limit=100")).await.ok();
                assert_eq!(ahead["chunk"], json!([]));
            }
        }
    }
}
