//! Logging in with a password.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>

use std::{net::IpAddr, time::Duration};

use stoa_storage::repo::users;

use crate::{
    Accounts, Failure, NewDevice, NewSession, failure::fails_with_failure,
    password_check::PasswordCheck,
};

/// A request to log in.
#[derive(Clone, Copy)]
pub struct PasswordLogin<'a> {
    /// The localpart or the full ID of the user.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
    /// The device to log in.
    pub device: NewDevice<'a>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

/// Why a login is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There is no such user, or the password is wrong.
    #[error("invalid user name or password")]
    Forbidden,
    /// The password is right and the account is closed.
    #[error("this account has been deactivated")]
    Deactivated,
    /// This user or address has failed too often.
    #[error("too many failed logins")]
    TooManyAttempts {
        /// How long it stays so.
        retry_after: Duration,
    },
    /// The device ID is empty, too long, or holds control characters.
    #[error("this is not a valid device ID")]
    InvalidDeviceId,
    /// The server is at fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(LoginError);

impl Accounts {
    /// Begins a session for who knows the password.
    pub async fn log_in_with_password(
        &self,
        login: PasswordLogin<'_>,
    ) -> Result<NewSession, LoginError> {
        login.device.check().map_err(|_| LoginError::InvalidDeviceId)?;
        let check = self.check_password(login.user, login.password, login.address).await?;
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

        let mut conn = self.store.write().await?;
        let hash = user.password_hash.as_deref();
        if !users::lock_for_login(&mut conn, &user.user_id, hash).await? {
            // The password was changed, or the account closed, while it was being checked.
            return Err(LoginError::Forbidden);
        }
        counted.succeeded(&mut conn).await?;
        let pair = self.new_tokens(login.device.refreshable, None);
        let (session, replaced) =
            self.begin_session(&mut conn, &user.user_id, &login.device, pair).await?;
        conn.commit().await?;
        self.end_replaced(&user.user_id, replaced).await?;
        Ok(session)
    }
}
