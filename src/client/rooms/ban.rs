//! `POST /_matrix/client/v3/rooms/{roomId}/ban`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban>

use axum::extract::State;
use ruma::api::client::membership::ban_user::v3::{Request, Response};
use stoa_rooms::MembershipChange;

use super::change_membership::change_membership;
use crate::{
    app::AppState,
    http::{Answer, Result, RumaSend},
};

/// Removes a user, if he is there, and keeps him out.
pub(crate) async fn ban(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let change = MembershipChange::Ban(body.user_id);
    change_membership(&state, &actor, &request.session, &body.room_id, change, body.reason).await?;
    Ok(Answer(Response::new()))
}
