//! `GET /_synapse/admin/v1/register`, `POST /_synapse/admin/v1/register`
//!
//! Who knows the shared secret makes accounts with it, admins too. Test tools and scripts expect
//! it at Synapse's path:
//! <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>

use std::sync::Arc;

use axum::extract::State;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use stoa_accounts::{Accounts, SharedSecretRegistration};

use crate::http::{Result, body::JsonBody, respond::Json};

/// A number that is used once, so that a request that was overheard cannot be repeated.
#[derive(Debug, Serialize)]
pub(crate) struct Nonce {
    nonce: String,
}

/// Who is to be registered, and the proof that the sender knows the secret.
#[derive(Deserialize)]
pub(crate) struct Request {
    nonce: String,
    username: String,
    #[serde(default)]
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    user_type: Option<String>,
    mac: String,
}

/// The account that was made, logged in.
#[derive(Debug, Serialize)]
pub(crate) struct Registered {
    user_id: OwnedUserId,
    home_server: String,
    access_token: String,
    device_id: OwnedDeviceId,
}

/// Gives a nonce.
pub(crate) async fn get_nonce(State(accounts): State<Arc<Accounts>>) -> Result<Json<Nonce>> {
    Ok(Json(Nonce { nonce: accounts.registration_nonce().await? }))
}

/// Makes the account.
pub(crate) async fn register(
    State(accounts): State<Arc<Accounts>>,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Registered>> {
    let session = accounts
        .register_with_shared_secret(SharedSecretRegistration {
            nonce: &request.nonce,
            username: &request.username,
            display_name: request.displayname.as_deref(),
            password: &request.password,
            admin: request.admin,
            user_type: request.user_type.as_deref(),
            mac: &request.mac,
        })
        .await?;
    Ok(Json(Registered {
        home_server: session.user_id.server_name().to_string(),
        user_id: session.user_id,
        access_token: session.tokens.access_token,
        device_id: session.device_id,
    }))
}
