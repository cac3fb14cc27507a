//! `GET /_matrix/client/v3/register/available`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::get_username_availability::v3::{Request, Response};
use stoa_accounts::Accounts;

use crate::http::{Answer, Limits, Result, Ruma};

/// Says whether an account of this name can be made.
pub(crate) async fn get_username_availability(
    State(accounts): State<Arc<Accounts>>,
    State(limits): State<Limits>,
    Ruma { body, address, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    // The answers tell which accounts there are.
    limits.attempt(address)?;
    accounts.check_username(&body.username).await?;
    Ok(Answer(Response::new(true)))
}
