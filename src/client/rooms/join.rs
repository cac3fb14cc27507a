//! `POST /_matrix/client/v3/join/{roomIdOrAlias}` and
//! `POST /_matrix/client/v3/rooms/{roomId}/join`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>,
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin>

use axum::extract::State;
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedRoomOrAliasId, RoomId,
    api::client::membership::{join_room_by_id, join_room_by_id_or_alias},
};
use stoa_accounts::Session;
use stoa_base::Actor;
use stoa_rooms::MembershipChange;

use super::{change_membership::change_membership, find_room, take_reason};
use crate::{
    app::AppState,
    http::{Answer, FreeForm, Result, RumaSend},
};

/// A join by alias or ID, with a body of which unknown keys go into the member event.
pub(crate) type ByIdOrAlias =
    FreeForm<join_room_by_id_or_alias::v3::Request, (OwnedRoomOrAliasId,)>;

/// The same by ID only.
pub(crate) type ById = FreeForm<join_room_by_id::v3::Request, (OwnedRoomId,)>;

/// Joins a room by its alias or ID.
pub(crate) async fn join_by_id_or_alias(
    State(state): State<AppState>,
    request: RumaSend<ByIdOrAlias>,
) -> Result<Answer<join_room_by_id_or_alias::v3::Response>> {
    let (actor, FreeForm { path: (id_or_alias,), body, .. }) = (request.actor(), request.body);
    let room = find_room(&state, &id_or_alias).await?;
    join(&state, &actor, &request.session, &room.id, body).await?;
    Ok(Answer(join_room_by_id_or_alias::v3::Response::new(room.id.clone())))
}

/// Joins a room by its ID.
pub(crate) async fn join_by_id(
    State(state): State<AppState>,
    request: RumaSend<ById>,
) -> Result<Answer<join_room_by_id::v3::Response>> {
    let (actor, FreeForm { path: (room_id,), body, .. }) = (request.actor(), request.body);
    let room = find_room(&state, (&*room_id).into()).await?;
    join(&state, &actor, &request.session, &room.id, body).await?;
    Ok(Answer(join_room_by_id::v3::Response::new(room_id)))
}

async fn join(
    state: &AppState,
    actor: &Actor,
    session: &Session,
    room_id: &RoomId,
    mut content: CanonicalJsonObject,
) -> Result<()> {
    let reason = take_reason(&mut content)?;
    // The proof of an invite by e-mail address, which is not for the event as it is.
    content.remove("third_party_signed");
    let change = MembershipChange::Join(content);
    change_membership(state, actor, session, room_id, change, reason).await?;
    Ok(())
}
