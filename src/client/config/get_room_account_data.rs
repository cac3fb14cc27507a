//! `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidaccount_datatype>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    api::client::config::get_room_account_data::v3::{Request, Response},
    serde::Raw,
};
use stoa_accounts::AccountData;
use stoa_http::{Answer, Error, Result, Ruma};
use stoa_rooms::Rooms;

use crate::ops::own_user::check_own_user;

/// Returns account data of one type for a room.
pub(crate) async fn get_room_account_data(
    State(account_data): State<Arc<AccountData>>,
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    check_own_user(&body.user_id, &session.user_id)?;
    let room = rooms.known.by_id(&body.room_id).await?;
    let kind = body.event_type.to_string();
    let content = account_data.get(&body.user_id, Some(room.nid), &kind).await?;
    let content =
        content.ok_or_else(|| Error::not_found("No account data of this type is set."))?;
    Ok(Answer(Response::new(Raw::from_json(content))))
}
