//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>

use axum::extract::State;
use ruma::{
    OwnedRoomId,
    api::client::state::send_state_event::v3::{Request as RumaRequest, Response},
    events::StateEventType,
};
use serde::Deserialize;

use super::{canonical_alias, known_room};
use crate::{
    app::AppState,
    http::{Answer, FreeForm, Result, RumaSend},
};

/// Like ruma's, with canonical content.
pub(crate) type Request = FreeForm<RumaRequest, Path>;

/// The variables of the path. It may end before the state key, which is empty then.
#[derive(Debug, Deserialize)]
pub(crate) struct Path {
    room_id: OwnedRoomId,
    kind: StateEventType,
    #[serde(default)]
    state_key: String,
}

/// Sets an entry of the room's state. What is set already is not set again.
pub(crate) async fn set_state(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session) = (request.actor(), request.session);
    let FreeForm { path: Path { room_id, kind, state_key }, body: content, .. } = request.body;
    state.limits.message(&actor.user_id)?;
    let room = known_room(&state.rooms, &room_id).await?;
    if kind == StateEventType::RoomCanonicalAlias && state_key.is_empty() {
        canonical_alias::check(&state, &room, &content).await?;
    }
    let token = Some(&*session.token_hash);
    let event_id = state.rooms.send_state(&actor, token, &room, kind, &state_key, content).await?;
    Ok(Answer(Response::new(event_id)))
}
