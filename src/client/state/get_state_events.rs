//! `GET /_matrix/client/v3/rooms/{roomId}/state`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::state::get_state_events::v3::Request;
use stoa_accounts::Sessions;
use stoa_http::{Admission, Result, Ruma, admission::EVENT};
use stoa_rooms::{Rooms, state::Part};

use crate::ops::{find_room::known_room, large_answer, reading_device::reader};

/// Returns the room's current state. Users who have left get the state at the time when they left.
pub(crate) async fn get_state_events(
    State(rooms): State<Arc<Rooms>>,
    State(sessions): State<Arc<Sessions>>,
    State(admission): State<Admission>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    let room = known_room(&rooms, &body.room_id).await?;
    let state = rooms.visible_states.now(&session.user_id, &room).await?;
    let weight = EVENT * rooms.states.about_how_many([state], Part::All).await?;
    let device = reader(&session);
    let (rooms, reader) = (&rooms, device.in_room());
    let assemble = |allowance| async move {
        Ok(rooms.client_format.write_state(reader, state, Part::All, |_| true, &allowance).await?)
    };
    let (state, place) =
        large_answer::assemble(&sessions, &admission, &session, weight, assemble).await?;
    Ok(place.json(state))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, in_room};

    both_databases! {
        async fn the_whole_state_is_shown(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({ "name": "name", "topic": "topic" })).await;
            let state = alice.get(&in_room(&room, "state")).await.ok();
            let mut kinds = BTreeSet::new();
            for event in state.as_array().unwrap() {
                assert_eq!(event["sender"], "@alice:test");
                assert_eq!(event["room_id"], room);
                assert!(event["event_id"].is_string() && event["state_key"].is_string(), "{event}");
                assert!(kinds.insert(event["type"].as_str().unwrap()), "twice: {event}");
            }
            let expected = [
                "create", "guest_access", "history_visibility", "join_rules", "member", "name",
                "power_levels", "topic",
            ];
            let expected = expected.map(|kind| format!("m.room.{kind}"));
            let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
            assert_eq!(kinds, expected);
        }
    }
}
