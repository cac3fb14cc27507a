//! `POST /_matrix/client/v3/account/password`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::change_password::v3::{Request, Response};
use serde::Serialize;
use stoa_accounts::{Accounts, InteractiveAuth, InteractiveRequest, Stage};

use crate::http::{Answer, Error, Result, Ruma};

/// What the user is asked to confirm.
#[derive(Serialize)]
struct Confirmed<'a> {
    new_password: &'a str,
    logout_devices: bool,
}

/// Sets a new password, once the user has shown to know the present one. Other devices are logged
/// out unless the client asks to keep them.
pub(crate) async fn change_password(
    State(accounts): State<Arc<Accounts>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let session = request.session.as_ref().ok_or_else(Error::missing_token)?;
    let body = &request.body;
    let confirmed =
        Confirmed { new_password: &body.new_password, logout_devices: body.logout_devices };
    let auth = accounts
        .interactive_auth(&InteractiveRequest {
            operation: "account/password",
            user: Some(&session.user_id),
            body: &confirmed,
            flows: &[&[Stage::Password]],
            auth: body.auth.as_ref(),
            address: request.address,
        })
        .await?;
    if let InteractiveAuth::Challenge(info) = auth {
        return Err(Error::interactive_auth(info));
    }
    let actor = session.actor(request.address);
    accounts.change_password(&actor, &body.new_password, body.logout_devices).await?;
    Ok(Answer(Response::new()))
}
