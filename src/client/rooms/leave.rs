//! `POST /_matrix/client/v3/rooms/{roomId}/leave`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave>

use axum::extract::State;
use ruma::api::client::membership::leave_room::v3::{Request, Response};
use stoa_rooms::MembershipChange;

use super::change_membership::change_membership;
use crate::{
    app::AppState,
    http::{Answer, Result, RumaSend},
};

/// Leaves a room, rejects an invite, or takes a knock back.
pub(crate) async fn leave(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Leave;
    change_membership(&state, &actor, &request.session, &body.room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}
