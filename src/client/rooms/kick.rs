//! `POST /_matrix/client/v3/rooms/{roomId}/kick`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick>

use axum::extract::State;
use ruma::api::client::membership::kick_user::v3::{Request, Response};
use stoa_rooms::MembershipChange;

use super::change_membership::change_membership;
use crate::{
    app::AppState,
    http::{Answer, Result, RumaSend},
};

/// Removes a user who is in the room, invited to it, or knocking.
pub(crate) async fn kick(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Kick(body.user_id);
    change_membership(&state, &actor, &request.session, &body.room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}
