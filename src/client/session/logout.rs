//! `POST /_matrix/client/v3/logout`, `POST /_matrix/client/v3/logout/all`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>,
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::session::{logout::v3 as logout, logout_all::v3 as logout_all};
use stoa_accounts::Accounts;

use crate::http::{Answer, Result, Ruma};

/// Ends the session, and with it its device.
pub(crate) async fn log_out(
    State(accounts): State<Arc<Accounts>>,
    request: Ruma<logout::Request>,
) -> Result<Answer<logout::Response>> {
    accounts.log_out(&request.actor()).await?;
    Ok(Answer(logout::Response::new()))
}

/// Ends all sessions of the user.
pub(crate) async fn log_out_all(
    State(accounts): State<Arc<Accounts>>,
    request: Ruma<logout_all::Request>,
) -> Result<Answer<logout_all::Response>> {
    accounts.log_out_all(&request.actor()).await?;
    Ok(Answer(logout_all::Response::new()))
}
