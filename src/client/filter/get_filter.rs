//! `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::filter::get_filter::v3::Request;
use stoa_accounts::Accounts;

use crate::{
    client::own,
    http::{Error, Result, Ruma, respond::json_bytes},
};

/// Gives a filter as it was stored.
pub(crate) async fn get_filter(
    State(accounts): State<Arc<Accounts>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    own(&body.user_id, &session.user_id)?;
    let filter = accounts.filter(&body.user_id, &body.filter_id).await?;
    let filter = filter.ok_or_else(|| Error::not_found("You have no such filter."))?;
    Ok(json_bytes(filter.source.get().to_owned()))
}
