//! Creating accounts: by open registration, with the shared secret, or on behalf of an admin.

mod create_user;
mod register;
mod shared_secret;

use std::{sync::Arc, time::Duration};

use ruma::{OwnedServerName, OwnedUserId, UserId};
use stoa_base::{Actor, Clock, Random};
use stoa_storage::{
    Store,
    log::{AccountState, Append, AppendError, AuditAction, AuditRow, Guard, NewUserRow, Writer},
    repo::users,
};

pub(crate) use self::shared_secret::SharedSecret;
pub use self::{
    create_user::NewUser,
    register::{RegisterAnswer, RegisterRequest, Registered},
    shared_secret::{SharedSecretError, SharedSecretRequest},
};
use crate::{
    attempts::Attempts,
    failure::{Failure, fails_with_failure},
    interactive_auth::{InteractiveAuth, InteractiveAuthError},
    passwords::{Passwords, UnfitPassword, check_new_password},
    profiles::{ProfileError, first_display_name},
    sessions::Sessions,
    username,
};

/// Creates the accounts of this server.
#[derive(Debug)]
pub struct Registrar {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) server_name: OwnedServerName,
    /// Whether anyone may register.
    pub(crate) is_open: bool,
    /// The secret that allows registering users and admins, if there is one.
    pub(crate) shared_secret: Option<SharedSecret>,
    pub(crate) attempts: Attempts,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) interactive_auth: Arc<InteractiveAuth>,
    pub(crate) sessions: Arc<Sessions>,
}

/// Why no account was created.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Registration is closed.
    #[error("registration is closed on this server")]
    Disabled,
    /// The user name is not allowed.
    #[error("{0}")]
    InvalidUsername(&'static str),
    /// The user name is taken.
    #[error("this user name is taken")]
    UserInUse,
    /// The request has no password.
    #[error("a password is required")]
    MissingPassword,
    /// The password is not allowed.
    #[error(transparent)]
    Password(#[from] UnfitPassword),
    /// The device ID is empty, too long, or contains control characters.
    #[error("this is not a valid device ID")]
    InvalidDeviceId,
    /// The display name is not allowed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// There were too many registrations from this address.
    #[error("too many registrations")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// Interactive authentication failed.
    #[error(transparent)]
    Auth(#[from] InteractiveAuthError),
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(RegisterError);

/// An account to create.
#[derive(Clone, Copy)]
struct NewAccount<'a> {
    user_id: &'a UserId,
    password_hash: Option<&'a str>,
    admin: bool,
    display_name: Option<&'a str>,
    /// How the account is created, for the audit log.
    origin: &'static str,
}

impl Registrar {
    /// Checks that `username` could be registered now.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>
    pub async fn check_username(&self, username: &str) -> Result<(), RegisterError> {
        if !self.is_open {
            return Err(RegisterError::Disabled);
        }
        self.check_is_free(&self.new_user_id(username)?).await
    }

    fn new_user_id(&self, username: &str) -> Result<OwnedUserId, RegisterError> {
        username::new_user_id(username, &self.server_name).map_err(RegisterError::InvalidUsername)
    }

    async fn check_is_free(&self, user_id: &UserId) -> Result<(), RegisterError> {
        match users::find(&mut self.store.read().await?, user_id).await? {
            Some(_) => Err(RegisterError::UserInUse),
            None => Ok(()),
        }
    }

    async fn hash_new_password(&self, password: &str) -> Result<String, RegisterError> {
        check_new_password(password)?;
        Ok(self.passwords.hasher.hash(password).await?)
    }

    /// Adds an account to an append, to be written with [`Registrar::append_account`].
    fn add_account(
        &self,
        append: &mut Append,
        actor: &Actor,
        account: NewAccount<'_>,
    ) -> Result<(), RegisterError> {
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

    /// Writes an append that creates an account.
    async fn append_account(&self, append: Append) -> Result<(), RegisterError> {
        match self.writer.append(append).await {
            Ok(_) => {
                metrics::counter!("stoa_registrations_total").increment(1);
                Ok(())
            }
            Err(AppendError::AccountChanged) => Err(RegisterError::UserInUse),
            Err(error) => Err(error.into()),
        }
    }
}
