//! `GET /_matrix/client/v3/login`, `POST /_matrix/client/v3/login`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login>,
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::{
    session::{
        get_login_types::v3::{self as get_login_types, LoginType, PasswordLoginType},
        login::v3::{self as login, DiscoveryInfo, HomeserverInfo, LoginInfo, Password},
    },
    uiaa::UserIdentifier,
};
use stoa_accounts::{Accounts, NewDevice, PasswordLogin};

use crate::{
    app::AppState,
    http::{Answer, Error, Limits, Result, Ruma},
};

/// The ways to log in.
pub(crate) async fn get_login_flows(
    _: Ruma<get_login_types::Request>,
) -> Answer<get_login_types::Response> {
    let flows = vec![LoginType::Password(PasswordLoginType::new())];
    Answer(get_login_types::Response::new(flows))
}

/// Makes a session, on a new device or on the one that is named.
pub(crate) async fn log_in(
    State(state): State<AppState>,
    State(accounts): State<Arc<Accounts>>,
    State(limits): State<Limits>,
    Ruma { body, address, .. }: Ruma<login::Request>,
) -> Result<Answer<login::Response>> {
    limits.attempt(address)?;
    let LoginInfo::Password(password) = &body.login_info else {
        return Err(Error::bad_request("This way to log in is not known here."));
    };
    let session = accounts
        .log_in_with_password(PasswordLogin {
            user: user(password)?,
            password: &password.password,
            device: NewDevice {
                device_id: body.device_id.as_deref(),
                display_name: body.initial_device_display_name.as_deref(),
                refreshable: body.refresh_token,
            },
            address,
        })
        .await?;
    let tokens = session.tokens;
    let mut response =
        login::Response::new(session.user_id, tokens.access_token, session.device_id);
    response.refresh_token = tokens.refresh_token;
    response.expires_in = tokens.expires_in;
    let public_url = state.config.public_base_url.as_ref();
    response.well_known =
        public_url.map(|url| DiscoveryInfo::new(HomeserverInfo::new(url.as_str().to_owned())));
    Ok(Answer(response))
}

/// The user who logs in, a whole user ID or its localpart.
fn user(login: &Password) -> Result<&str> {
    match &login.identifier {
        Some(UserIdentifier::Matrix(identifier)) => Ok(&identifier.user),
        Some(_) => Err(Error::bad_request("Users are not known here by this kind of name.")),
        None => {
            #[expect(deprecated, reason = "clients from before `identifier` are still around")]
            let user = login.user.as_deref();
            user.ok_or_else(|| Error::missing_param("`identifier` is missing."))
        }
    }
}
