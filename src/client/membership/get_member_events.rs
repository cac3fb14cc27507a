//! `GET /_matrix/client/v3/rooms/{roomId}/members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>

use std::sync::Arc;

use axum::{extract::State, response::Response as HttpResponse};
use ruma::{
    api::client::membership::get_member_events::v3::Request, events::room::member::MembershipState,
};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_accounts::Sessions;
use stoa_http::{Admission, Error, Result, Ruma, admission::EVENT};
use stoa_rooms::{Event, Rooms, state::Part, tokens::RoomToken};

use crate::ops::{find_room::known_room, large_answer, reading_device::reader};

/// Like ruma's, with events that are already serialized.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    chunk: Vec<Box<RawValue>>,
}

/// Returns the member events of a room, now or at the point `at`. Users who have left get those at
/// the time when they left.
pub(crate) async fn get_member_events(
    State(rooms): State<Arc<Rooms>>,
    State(sessions): State<Arc<Sessions>>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<HttpResponse> {
    let room = known_room(&rooms, &body.room_id).await?;
    let user_id = &session.user_id;
    let state = match &body.at {
        None => rooms.visible_states.now(user_id, &room).await?,
        Some(at) => {
            let at: RoomToken =
                at.parse().map_err(|error| Error::invalid_param(format!("`at`: {error}.")))?;
            rooms.visible_states.at(user_id, &room, at.order()).await?
        }
    };
    let wanted = |membership: MembershipState| match (&body.membership, &body.not_membership) {
        (None, None) => true,
        (only, but) => {
            only.as_ref().is_some_and(|only| only.as_str() == membership.as_str())
                || but.as_ref().is_some_and(|but| but.as_str() != membership.as_str())
        }
    };
    let weight = EVENT * rooms.states.about_how_many([state], Part::Members).await?;
    let wanted = |event: &Event| event.membership().is_some_and(wanted);
    let device = reader(&session);
    let (rooms, reader, wanted) = (&rooms, device.in_room(), &wanted);
    let assemble = |allowance| async move {
        Ok(rooms
            .client_format
            .write_state(reader, state, Part::Members, wanted, &allowance)
            .await?)
    };
    let (chunk, place) =
        large_answer::assemble(&sessions, &admission, &session, weight, assemble).await?;
    Ok(place.json(Response { chunk }))
}

#[cfg(test)]
mod tests {
    use stoa_testing::{TestClient, TestServer, both_databases, encode, in_room};

    /// The members in an answer, each with the membership.
    async fn members(client: &TestClient, room: &str, query: &str) -> Vec<String> {
        let answer = client.get(&in_room(room, &format!("members?{query}"))).await.ok();
        let events = answer["chunk"].as_array().unwrap();
        let mut members = Vec::new();
        for event in events {
            assert_eq!(event["type"], "m.room.member");
            assert_eq!(event["room_id"], room);
            let user = event["state_key"].as_str().unwrap();
            members.push(format!("{user} {}", event["content"]["membership"].as_str().unwrap()));
        }
        members.sort();
        members
    }

    both_databases! {
        async fn members_are_chosen_by_their_membership(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let both = ["@alice:test join", "@bob:test join"];
            assert_eq!(members(&alice, &room, "").await, both);
            bob.leave(&room).await;
            let (hers, his) = ("@alice:test join", "@bob:test leave");
            assert_eq!(members(&alice, &room, "").await, [hers, his]);
            assert_eq!(members(&alice, &room, "not_membership=leave").await, [hers]);
            assert_eq!(members(&alice, &room, "membership=leave").await, [his]);
            assert_eq!(members(&alice, &room, "membership=join").await, [hers]);
        }

        async fn the_members_of_a_point_in_time_are_shown(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            alice.send(&room, "hello").await;
            let synced = alice.get("/_matrix/client/v3/sync").await.ok();
            let timeline = &synced["rooms"]["join"][&room]["timeline"];
            bob.join(&room).await;
            bob.send(&room, "hello to you").await;
            for token in [&timeline["prev_batch"], &synced["next_batch"]] {
                let at = format!("at={}", encode(token.as_str().unwrap()));
                assert_eq!(members(&alice, &room, &at).await, ["@alice:test join"], "{at}");
            }
            assert_eq!(members(&alice, &room, "").await.len(), 2);
        }

        async fn former_members_get_the_members_of_when_they_left(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let charlie = server.register("charlie").await;
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            bob.leave(&room).await;
            charlie.join(&room).await;
            let then = ["@alice:test join", "@bob:test leave"];
            assert_eq!(members(&bob, &room, "").await, then);
            assert_eq!(members(&alice, &room, "").await.len(), 3);
        }
    }
}
