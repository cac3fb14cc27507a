//! `POST /_matrix/client/v3/knock/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias>

use axum::extract::State;
use ruma::{
    OwnedRoomOrAliasId,
    api::client::knock::knock_room::v3::{Request as RumaRequest, Response},
};
use stoa_rooms::MembershipChange;

use super::{change_membership::change_membership, find_room, take_reason};
use crate::{
    app::AppState,
    http::{Answer, FreeForm, Result, RumaSend},
};

/// Like ruma's, whose body may not be empty.
pub(crate) type Request = FreeForm<RumaRequest, (OwnedRoomOrAliasId,)>;

/// Asks to be let into a room.
pub(crate) async fn knock(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, FreeForm { path: (id_or_alias,), mut body, .. }) = (request.actor(), request.body);
    let room = find_room(&state, &id_or_alias).await?;
    let reason = take_reason(&mut body)?;
    let change = MembershipChange::Knock;
    change_membership(&state, &actor, &request.session, &room.id, change, reason).await?;
    Ok(Answer(Response::new(room.id.clone())))
}
