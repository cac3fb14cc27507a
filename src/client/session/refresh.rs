//! `POST /_matrix/client/v3/refresh`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    api::client::session::refresh_token::v3::{Request, Response},
    assign,
};
use stoa_accounts::Accounts;

use crate::http::{Answer, Result, Ruma};

/// Gives new tokens for a refresh token.
pub(crate) async fn refresh(
    State(accounts): State<Arc<Accounts>>,
    Ruma { body, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let tokens = accounts.refresh(&body.refresh_token).await?;
    Ok(Answer(assign!(Response::new(tokens.access_token), {
        refresh_token: tokens.refresh_token,
        expires_in_ms: tokens.expires_in,
    })))
}
