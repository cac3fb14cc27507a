//! Logging in with a password.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>

use std::{net::IpAddr, time::Duration};

use stoa_storage::log::{AccountState, Append, AppendError, Guard, SessionOrigin};

use super::{Passwords, check::PasswordCheck};
use crate::{
    failure::{Failure, fails_with_failure},
    sessions::{NewDevice, NewSession, SessionStart},
};

/// A request to log in.
#[derive(Clone, Copy)]
pub struct PasswordLogin<'a> {
    /// The user's localpart or full ID.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
    /// The device to log in.
    pub device: NewDevice<'a>,
    /// The address that the request came from.
    pub address: Option<IpAddr>,
}

/// Why a login was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There is no such user, or the password is wrong.
    #[error("invalid user name or password")]
    Forbidden,
    /// The password is right, but the account is deactivated.
    #[error("this account has been deactivated")]
    Deactivated,
    /// This user or address has too many failed logins.
    #[error("too many failed logins")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// The device ID is empty, too long, or contains control characters.
    #[error("this is not a valid device ID")]
    InvalidDeviceId,
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(LoginError);

impl Passwords {
    /// Logs a user in with a password.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn log_in(&self, login: PasswordLogin<'_>) -> Result<NewSession, LoginError> {
        login.device.check().map_err(|_| LoginError::InvalidDeviceId)?;
        let check = self.check(login.user, login.password, login.address).await?;
        let (user, counted) = match check {
            PasswordCheck::Right(user, counted) => (user, counted),
            PasswordCheck::Wrong => return Err(LoginError::Forbidden),
            PasswordCheck::TooMany { retry_after } => {
                return Err(LoginError::TooManyAttempts { retry_after });
            }
        };
        if user.deactivated {
            return Err(LoginError::Deactivated);
        }

        self.attempts.succeeded(&counted).await?;
        let mut append = Append::new();
        let state = AccountState::Password(user.password_hash);
        append.guards.push(Guard::Account(user.user_id.to_string(), state));
        let start = SessionStart {
            user_id: &user.user_id,
            device: &login.device,
            origin: SessionOrigin::Password,
            address: login.address,
            seed: None,
        };
        let session = self.sessions.begin(&mut append, start).await?;
        match self.writer.append(append).await {
            Ok(_) => Ok(session),
            // The password was changed, or the account deactivated, during the check.
            Err(AppendError::AccountChanged) => Err(LoginError::Forbidden),
            Err(error) => Err(error.into()),
        }
    }
}
