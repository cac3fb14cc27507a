//! `POST /_matrix/client/v3/register`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::register::{
    LoginType, RegistrationKind,
    v3::{Request, Response},
};
use stoa_accounts::{Accounts, NewDevice, Registration, RegistrationAnswer};

use crate::http::{Answer, Error, Limits, Result, Ruma};

/// Makes an account, after the client has authenticated itself interactively.
pub(crate) async fn register(
    State(accounts): State<Arc<Accounts>>,
    State(limits): State<Limits>,
    Ruma { body, address, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    if body.kind != RegistrationKind::User {
        return Err(Error::forbidden("There are no guests here."));
    }
    if let Some(LoginType::ApplicationService) = body.login_type {
        return Err(Error::forbidden("Only application services may do this."));
    }
    limits.attempt(address)?;
    let answer = accounts
        .register(Registration {
            username: body.username.as_deref(),
            password: body.password.as_deref(),
            device: NewDevice {
                device_id: body.device_id.as_deref(),
                display_name: body.initial_device_display_name.as_deref(),
                refreshable: body.refresh_token,
            },
            inhibit_login: body.inhibit_login,
            auth: body.auth.as_ref(),
            address,
        })
        .await?;
    let registered = match answer {
        RegistrationAnswer::Challenge(info) => return Err(Error::interactive_auth(info)),
        RegistrationAnswer::Registered(registered) => registered,
    };
    let mut response = Response::new(registered.user_id);
    if let Some(session) = registered.session {
        response.device_id = Some(session.device_id);
        response.access_token = Some(session.tokens.access_token);
        response.refresh_token = session.tokens.refresh_token;
        response.expires_in = session.tokens.expires_in;
    }
    Ok(Answer(response))
}
