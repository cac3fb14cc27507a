//! Making an account for whoever asks.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>

use std::{net::IpAddr, time::Duration};

use ruma::{
    OwnedDeviceId, OwnedUserId, UserId,
    api::client::uiaa::{AuthData, UiaaInfo},
};
use serde::{Deserialize, Serialize};
use stoa_base::Actor;
use stoa_storage::{
    log::{
        AccountState, Append, AppendError, AuditAction, AuditRow, Guard, InteractiveResultRow,
        NewUserRow, SessionOrigin,
    },
    repo::users,
};

use crate::{
    Accounts, Failure, InteractiveAuth, InteractiveAuthError, InteractiveRequest, NewDevice,
    NewSession, ProfileError, Stage,
    attempts::Attempt,
    failure::fails_with_failure,
    interactive_auth::SessionKey,
    new_session::SessionStart,
    passwords::{UnfitPassword, check_new_password},
    profiles::first_display_name,
    username,
};

/// The stages that registering asks for.
const FLOWS: &[&[Stage]] = &[&[Stage::Dummy]];

/// A request to register.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    /// The localpart of the new user; one is made where there is none.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The device to log in.
    pub device: NewDevice<'a>,
    /// Whether to leave it at making the account.
    pub inhibit_login: bool,
    /// The body's `auth`.
    pub auth: Option<&'a AuthData>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

/// What came of a request to register.
#[derive(Debug)]
pub enum RegistrationAnswer {
    /// There is more to do: the 401 answer.
    Challenge(UiaaInfo),
    /// The account was made, by this request or an earlier one that was the same.
    Registered(Registered),
}

/// An account that was made.
#[derive(Debug)]
pub struct Registered {
    /// Its ID.
    pub user_id: OwnedUserId,
    /// Its first session, unless the request did not want one.
    pub session: Option<NewSession>,
}

/// Why no account is made.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Nobody may register.
    #[error("registration is closed on this server")]
    Disabled,
    /// The user name is not allowed.
    #[error("{0}")]
    InvalidUsername(&'static str),
    /// The user name is taken.
    #[error("this user name is taken")]
    UserInUse,
    /// There is no password.
    #[error("a password is needed")]
    MissingPassword,
    /// The password is one that nobody may choose.
    #[error(transparent)]
    Password(#[from] UnfitPassword),
    /// The device ID is empty, too long, or holds control characters.
    #[error("this is not a valid device ID")]
    InvalidDeviceId,
    /// The display name is not allowed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Too many accounts were made from this address.
    #[error("too many registrations")]
    TooManyAttempts {
        /// How long it stays so.
        retry_after: Duration,
    },
    /// The interactive authentication failed.
    #[error(transparent)]
    Auth(#[from] InteractiveAuthError),
    /// The server is at fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(RegistrationError);

/// What of a request must stay the same while it is repeated.
#[derive(Debug, Serialize)]
struct Body<'a> {
    username: Option<&'a str>,
    password: Option<&'a str>,
    device_id: Option<&'a str>,
    display_name: Option<&'a str>,
    refreshable: bool,
    inhibit_login: bool,
}

/// What is noted of a registration, for when the request is repeated. Its tokens are derived again.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    user_id: OwnedUserId,
    device_id: Option<OwnedDeviceId>,
}

/// An account to be made.
#[derive(Clone, Copy)]
pub(crate) struct NewAccount<'a> {
    pub(crate) user_id: &'a UserId,
    pub(crate) password_hash: Option<&'a str>,
    pub(crate) admin: bool,
    pub(crate) display_name: Option<&'a str>,
    /// How it comes about, for the audit log.
    pub(crate) origin: &'static str,
}

impl Accounts {
    /// Makes an account once the interactive authentication is passed.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn register(
        &self,
        request: Registration<'_>,
    ) -> Result<RegistrationAnswer, RegistrationError> {
        if !self.options.registration_enabled {
            return Err(RegistrationError::Disabled);
        }
        let user_id = match request.username {
            Some(username) => Some(self.new_user_id(username)?),
            None => None,
        };
        request.device.check().map_err(|_| RegistrationError::InvalidDeviceId)?;
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
            // The same request may have been sent twice at once.
            Err(RegistrationError::UserInUse) => {
                self.repeated(&request, &interactive).await?.ok_or(RegistrationError::UserInUse)
            }
            answer => answer,
        }
    }

    async fn register_once(
        &self,
        request: &Registration<'_>,
        user_id: Option<OwnedUserId>,
        interactive: &InteractiveRequest<'_, Body<'_>>,
    ) -> Result<RegistrationAnswer, RegistrationError> {
        if let Some(user_id) = &user_id {
            self.check_is_free(user_id).await?;
        }
        let passed = match self.interactive_auth(interactive).await? {
            InteractiveAuth::Passed(passed) => passed,
            InteractiveAuth::Challenge(info) => return Ok(RegistrationAnswer::Challenge(info)),
        };
        let password = request.password.ok_or(RegistrationError::MissingPassword)?;
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
        Ok(RegistrationAnswer::Registered(registered))
    }

    /// Whether `username` could be registered now.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>
    pub async fn check_username(&self, username: &str) -> Result<(), RegistrationError> {
        if !self.options.registration_enabled {
            return Err(RegistrationError::Disabled);
        }
        self.check_is_free(&self.new_user_id(username)?).await
    }

    pub(crate) fn new_user_id(&self, username: &str) -> Result<OwnedUserId, RegistrationError> {
        username::new_user_id(username, &self.server_name)
            .map_err(RegistrationError::InvalidUsername)
    }

    pub(crate) async fn check_is_free(&self, user_id: &UserId) -> Result<(), RegistrationError> {
        match users::find(&mut self.store.read().await?, user_id).await? {
            Some(_) => Err(RegistrationError::UserInUse),
            None => Ok(()),
        }
    }

    pub(crate) async fn hash_new_password(
        &self,
        password: &str,
    ) -> Result<String, RegistrationError> {
        check_new_password(password)?;
        Ok(self.passwords.hash(password).await?)
    }

    async fn count_registration(&self, address: Option<IpAddr>) -> Result<(), RegistrationError> {
        match self.attempt_registration(address).await? {
            Attempt::Counted(_) => Ok(()),
            Attempt::TooMany { retry_after } => {
                Err(RegistrationError::TooManyAttempts { retry_after })
            }
        }
    }

    /// Adds an account to an append that [`Accounts::append_account`] is to write.
    pub(crate) fn add_account(
        &self,
        append: &mut Append,
        actor: &Actor,
        account: NewAccount<'_>,
    ) -> Result<(), RegistrationError> {
        let user_id = account.user_id.to_string();
        let now_ms = self.clock.now_ms();
        append.guards.push(Guard::Account(user_id.clone(), AccountState::Absent));
        if let Some(name) = account.display_name {
            append.profile_fields.extend(first_display_name(account.user_id, name)?);
        }
        let row = AuditRow::new(now_ms, AuditAction::AccountCreated, actor, &*user_id);
        append.audit.push(row.with("admin", account.admin).with("origin", account.origin));
        append.users.push(NewUserRow {
            user_id,
            password_hash: account.password_hash.map(ToOwned::to_owned),
            admin: account.admin.into(),
            created_ms: now_ms,
        });
        Ok(())
    }

    /// Writes an append that makes an account.
    pub(crate) async fn append_account(&self, append: Append) -> Result<(), RegistrationError> {
        match self.writer.append(append).await {
            Ok(_) => {
                metrics::counter!("stoa_registrations_total").increment(1);
                Ok(())
            }
            Err(AppendError::AccountChanged) => Err(RegistrationError::UserInUse),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the account, with its first session and the note of the outcome.
    async fn finish_registration(
        &self,
        request: &Registration<'_>,
        account: NewAccount<'_>,
        interactive: Option<&SessionKey>,
    ) -> Result<Registered, RegistrationError> {
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
            session = Some(self.begin_session(&mut append, start).await?);
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

    /// The answer that was given before to the same request in the same session.
    async fn repeated(
        &self,
        request: &Registration<'_>,
        interactive: &InteractiveRequest<'_, Body<'_>>,
    ) -> Result<Option<RegistrationAnswer>, RegistrationError> {
        let Some((key, outcome)) = self.interactive_result(interactive).await? else {
            return Ok(None);
        };
        let Outcome { user_id, device_id } =
            serde_json::from_str(&outcome).map_err(stoa_storage::Error::corrupt)?;
        let session = device_id.map(|device_id| NewSession {
            user_id: user_id.clone(),
            device_id,
            tokens: self
                .new_session(request.device.refreshable, Some(key.token_seed()))
                .1
                .into_new_tokens(),
        });
        Ok(Some(RegistrationAnswer::Registered(Registered { user_id, session })))
    }
}
