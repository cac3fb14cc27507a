//! `POST /_matrix/client/v3/rooms/{roomId}/unban`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban>

use axum::extract::State;
use ruma::api::client::membership::unban_user::v3::{Request, Response};
use stoa_rooms::MembershipChange;

use super::change_membership::change_membership;
use crate::{
    app::AppState,
    http::{Answer, Result, RumaSend},
};

/// Lets a user in again who was banned; he is not in the room by that.
pub(crate) async fn unban(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Unban(body.user_id);
    change_membership(&state, &actor, &request.session, &body.room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}
