//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::room::get_room_event::v3::Request;
use stoa_base::Allowance;
use stoa_http::{Error, Result, Ruma, respond::json_bytes};
use stoa_rooms::Rooms;

use crate::ops::reading_device::reader;

/// Returns one event. An event that the user may not see is not found.
pub(crate) async fn get_room_event(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    let room = rooms.known.by_id(&body.room_id).await?;
    let (event, membership) =
        rooms.visibility.event(&session.user_id, &room, &body.event_id).await?;
    let device = reader(&session);
    let mut written = rooms
        .client_format
        .to_client(device.in_room(), [(&event, Some(&membership))], &Allowance::unlimited())
        .await?;
    let written = written.pop().ok_or_else(|| Error::internal("an event was not written"))?;
    Ok(json_bytes(written.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn an_event_is_shown_whole(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let sent = alice.send(&room, "hello").await;
            let event = bob.event(&room, &sent).await;
            assert_eq!(event["content"], json!({ "msgtype": "m.text", "body": "hello" }));
            for (key, value) in [
                ("type", "m.room.message"),
                ("sender", "@alice:test"),
                ("room_id", &*room),
                ("event_id", &*sent),
            ] {
                assert_eq!(event[key], value);
            }
            assert!(event["origin_server_ts"].is_u64(), "{event}");
        }

        async fn earlier_events_are_shown_according_to_the_history_visibility(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            // Whether Bob, before he is invited, sees an event; and, once he has joined, the events
            // from before his invite and those between invite and join.
            for (visibility, as_stranger, before, between) in [
                ("joined", false, false, false),
                ("invited", false, false, true),
                ("shared", false, true, true),
                ("world_readable", true, true, true),
            ] {
                let history = json!([{
                    "type": "m.room.history_visibility",
                    "content": { "history_visibility": visibility },
                }]);
                let request = json!({ "preset": "public_chat", "initial_state": history });
                let room = alice.create_room(request).await;
                let check = async |event: &str, is_seen: bool| {
                    let path = in_room(&room, &format!("event/{}", encode(event)));
                    let answer = bob.get(&path).await;
                    if is_seen {
                        assert_eq!(answer.ok()["event_id"], event, "{visibility}");
                    } else {
                        answer.refused(404, "M_NOT_FOUND");
                    }
                };
                let first = alice.send(&room, "first").await;
                check(&first, as_stranger).await;
                alice.invite(&room, "@bob:test").await;
                let second = alice.send(&room, "second").await;
                bob.join(&room).await;
                check(&first, before).await;
                check(&second, between).await;
            }
        }

        async fn a_change_of_visibility_is_seen_from_either_side(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({})).await;
            alice.invite(&room, "@bob:test").await;
            for (visibility, is_seen) in
                [("invited", true), ("shared", true), ("joined", false), ("invited", true)]
            {
                let content = json!({ "history_visibility": visibility });
                let kind = "m.room.history_visibility";
                let change = alice.set_state(&room, kind, "", content).await;
                let path = in_room(&room, &format!("event/{}", encode(&change)));
                let answer = bob.get(&path).await;
                if is_seen {
                    assert_eq!(answer.ok()["event_id"], change);
                } else {
                    answer.refused(404, "M_NOT_FOUND");
                }
            }
        }
    }
}
