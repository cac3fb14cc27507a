//! Registration that is open to anyone.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>

use std::net::IpAddr;

use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::uiaa::{AuthData, UiaaInfo},
};
use serde::{Deserialize, Serialize};
use stoa_base::Actor;
use stoa_storage::log::{Append, InteractiveResultRow, SessionOrigin};

use super::{NewAccount, RegisterError, Registrar};
use crate::{
    attempts::Attempt,
    interactive_auth::{InteractiveAnswer, InteractiveRequest, SessionKey, Stage},
    sessions::{NewDevice, NewSession, SessionStart},
};

/// The flows of interactive authentication for registering.
const FLOWS: &[&[Stage]] = &[&[Stage::Dummy]];

/// A request to register.
#[derive(Clone, Copy)]
pub struct RegisterRequest<'a> {
    /// The localpart of the new user; `None` to generate one.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The device to log in.
    pub device: NewDevice<'a>,
    /// Whether to create only the account, without logging in.
    pub inhibit_login: bool,
    /// The body's `auth`.
    pub auth: Option<&'a AuthData>,
    /// The address that the request came from.
    pub address: Option<IpAddr>,
}

/// The outcome of a request to register.
#[derive(Debug)]
pub enum RegisterAnswer {
    /// More stages are needed: the body of the 401 response.
    Challenge(UiaaInfo),
    /// The account was created, by this request or by an earlier identical one.
    Registered(Registered),
}

/// An account that was created.
#[derive(Debug)]
pub struct Registered {
    /// Its ID.
    pub user_id: OwnedUserId,
    /// Its first session, unless the request did not want one.
    pub session: Option<NewSession>,
}

/// The parts of a request that must be the same when it is repeated.
#[derive(Debug, Serialize)]
struct Body<'a> {
    username: Option<&'a str>,
    password: Option<&'a str>,
    device_id: Option<&'a str>,
    display_name: Option<&'a str>,
    refreshable: bool,
    inhibit_login: bool,
}

/// What is stored about a registration, to answer a repeated request. Tokens are derived again.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    user_id: OwnedUserId,
    device_id: Option<OwnedDeviceId>,
}

impl Registrar {
    /// Creates an account once interactive authentication has been passed.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn register(
        &self,
        request: RegisterRequest<'_>,
    ) -> Result<RegisterAnswer, RegisterError> {
        if !self.is_open {
            return Err(RegisterError::Disabled);
        }
        let user_id = match request.username {
            Some(username) => Some(self.new_user_id(username)?),
            None => None,
        };
        request.device.check().map_err(|_| RegisterError::InvalidDeviceId)?;
        let body = Body {
            username: request.username,
            password: request.password,
            device_id: request.device.device_id.map(AsRef::as_ref),
            display_name: request.device.display_name,
            refreshable: request.device.refreshable,
            inhibit_login: request.inhibit_login,
        };
        let interactive = InteractiveRequest {
            operation: "register",
            user: None,
            body: &body,
            flows: FLOWS,
            auth: request.auth,
            address: request.address,
        };
        if let Some(answer) = self.repeated(&request, &interactive).await? {
            return Ok(answer);
        }
        match self.register_once(&request, user_id, &interactive).await {
            // The client may have sent the same request twice concurrently.
            Err(RegisterError::UserInUse) => {
                self.repeated(&request, &interactive).await?.ok_or(RegisterError::UserInUse)
            }
            answer => answer,
        }
    }

    async fn register_once(
        &self,
        request: &RegisterRequest<'_>,
        user_id: Option<OwnedUserId>,
        interactive: &InteractiveRequest<'_, Body<'_>>,
    ) -> Result<RegisterAnswer, RegisterError> {
        if let Some(user_id) = &user_id {
            self.check_is_free(user_id).await?;
        }
        let passed = match self.interactive_auth.authenticate(interactive).await? {
            InteractiveAnswer::Passed(passed) => passed,
            InteractiveAnswer::Challenge(info) => return Ok(RegisterAnswer::Challenge(info)),
        };
        let password = request.password.ok_or(RegisterError::MissingPassword)?;
        self.count_registration(request.address).await?;
        let password_hash = self.hash_new_password(password).await?;
        let user_id = match user_id {
            Some(user_id) => user_id,
            None => self.new_user_id(&self.random.alphanumeric(12).to_ascii_lowercase())?,
        };

        let account = NewAccount {
            user_id: &user_id,
            password_hash: Some(&password_hash),
            admin: false,
            display_name: None,
            origin: "registration",
        };
        let registered = self.finish_registration(request, account, passed.session()).await?;
        Ok(RegisterAnswer::Registered(registered))
    }

    async fn count_registration(&self, address: Option<IpAddr>) -> Result<(), RegisterError> {
        match self.attempts.registration(address).await? {
            Attempt::Counted(_) => Ok(()),
            Attempt::TooMany { retry_after } => Err(RegisterError::TooManyAttempts { retry_after }),
        }
    }

    /// Creates the account, its first session, and the stored outcome.
    async fn finish_registration(
        &self,
        request: &RegisterRequest<'_>,
        account: NewAccount<'_>,
        interactive: Option<&SessionKey>,
    ) -> Result<Registered, RegisterError> {
        let user_id = account.user_id;
        let actor = Actor { address: request.address, ..Actor::user(user_id) };
        let mut append = Append::new();
        self.add_account(&mut append, &actor, account)?;
        let mut session = None;
        if !request.inhibit_login {
            let start = SessionStart {
                user_id,
                device: &request.device,
                origin: SessionOrigin::Registration,
                address: request.address,
                seed: interactive.map(SessionKey::token_seed),
            };
            session = Some(self.sessions.begin(&mut append, start).await?);
        }
        if let Some(key) = interactive {
            let outcome = Outcome {
                user_id: user_id.to_owned(),
                device_id: session.as_ref().map(|session| session.device_id.clone()),
            };
            let result = serde_json::to_string(&outcome).map_err(stoa_storage::Error::corrupt)?;
            append
                .interactive_results
                .push(InteractiveResultRow { session_hash: key.hash(), result });
        }
        self.append_account(append).await?;
        Ok(Registered { user_id: user_id.to_owned(), session })
    }

    /// The earlier answer to the same request in the same session.
    async fn repeated(
        &self,
        request: &RegisterRequest<'_>,
        interactive: &InteractiveRequest<'_, Body<'_>>,
    ) -> Result<Option<RegisterAnswer>, RegisterError> {
        let Some((key, outcome)) = self.interactive_auth.result(interactive).await? else {
            return Ok(None);
        };
        let Outcome { user_id, device_id } =
            serde_json::from_str(&outcome).map_err(stoa_storage::Error::corrupt)?;
        let session = device_id.map(|device_id| NewSession {
            user_id: user_id.clone(),
            device_id,
            tokens: self
                .sessions
                .new_session(request.device.refreshable, Some(key.token_seed()))
                .1
                .into_new_tokens(),
        });
        Ok(Some(RegisterAnswer::Registered(Registered { user_id, session })))
    }
}
