//! `GET /_matrix/client/v3/profile/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::profile::get_profile::v3::{Request, Response};
use stoa_accounts::Accounts;

use crate::http::{Answer, Error, Result, Ruma};

/// Gives the whole profile of a user, to anybody.
pub(crate) async fn get_profile(
    State(accounts): State<Arc<Accounts>>,
    Ruma { body, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let profile = accounts.profile(&body.user_id).await?;
    let profile = profile.ok_or_else(|| Error::not_found("There is no such user."))?;
    Ok(Answer(profile.into_iter().collect()))
}
