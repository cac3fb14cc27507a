//! `POST /_matrix/client/v3/rooms/{roomId}/invite`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite>

use axum::extract::State;
use ruma::api::client::membership::invite_user::v3::{InvitationRecipient, Request, Response};
use stoa_rooms::MembershipChange;

use super::change_membership::change_membership;
use crate::{
    app::AppState,
    http::{Answer, Error, Result, RumaSend},
};

/// Invites a user of this server.
pub(crate) async fn invite(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, body) = (request.actor(), request.body);
    let InvitationRecipient::UserId(invitee) = body.recipient else {
        return Err(Error::invalid_param("Users are invited by their Matrix ID here."));
    };
    let change = MembershipChange::Invite(invitee.user_id);
    change_membership(&state, &actor, &request.session, &body.room_id, change, invitee.reason)
        .await?;
    Ok(Answer(Response::new()))
}
