//! `POST /_matrix/client/v3/user/{userId}/filter`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::filter::create_filter::v3::{Request, Response};
use serde_json::value::RawValue;
use stoa_accounts::Accounts;

use crate::{
    client::own,
    http::{Answer, Error, Result, Ruma},
};

/// Stores a filter, and gives an id for it.
pub(crate) async fn create_filter(
    State(accounts): State<Arc<Accounts>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    own(&request.body.user_id, &request.session.user_id)?;
    // As it was written: ruma's type passes over what the filter's checks have to see.
    let definition: &RawValue =
        serde_json::from_slice(&request.raw).map_err(|error| Error::bad_json(error.to_string()))?;
    let id = accounts.create_filter(&request.actor(), definition).await?;
    Ok(Answer(Response::new(id)))
}
