//! `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey>
//!
//! The path can end before the state key, which is then empty.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::state::get_state_event_for_key::v3::{Request, StateEventFormat};
use stoa_base::Allowance;
use stoa_http::{Error, Result, Ruma, respond::json_bytes};
use stoa_rooms::Rooms;

use crate::ops::{find_room::known_room, reading_device::reader};

/// Returns one state event: its content, or with `format=event` the whole event.
pub(crate) async fn get_state_event_for_key(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    let room = known_room(&rooms, &body.room_id).await?;
    let event =
        rooms.states.entry(&session.user_id, &room, &body.event_type, &body.state_key).await?;
    if body.format != StateEventFormat::Event {
        return Ok(json_bytes(event.pdu.content.get().to_owned()));
    }
    let device = reader(&session);
    let mut written = rooms
        .client_format
        .to_client(device.in_room(), [(&event, None)], &Allowance::unlimited())
        .await?;
    let written = written.pop().ok_or_else(|| Error::internal("an event was not written"))?;
    Ok(json_bytes(written.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn the_content_is_given_or_the_event(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let path = in_room(&room, "state/m.room.member/@alice:test");
            let content = json!({ "membership": "join" });
            assert_eq!(alice.get(&path).await.ok(), content);
            let event = alice.get(&format!("{path}?format=event")).await.ok();
            assert_eq!(event["content"], content);
            for (key, value) in [
                ("sender", "@alice:test"),
                ("state_key", "@alice:test"),
                ("type", "m.room.member"),
                ("room_id", &*room),
            ] {
                assert_eq!(event[key], value);
            }
        }

        async fn former_members_get_the_state_of_when_they_left(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let set = async |value: &str| {
                alice.set_state(&room, "m.room.name", "", json!({ "name": value })).await;
                alice.set_state(&room, "a.b", "", json!({ "body": value })).await;
            };
            set("then").await;
            bob.leave(&room).await;
            set("now").await;
            for (client, value) in [(&bob, "then"), (&alice, "now")] {
                assert_eq!(client.state(&room, "m.room.name", "").await["name"], value);
                assert_eq!(client.state(&room, "a.b", "").await["body"], value);
            }
        }
    }
}
