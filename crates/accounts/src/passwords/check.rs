//! Checking a user's password.

use std::{net::IpAddr, time::Duration};

use stoa_storage::repo::users::{self, UserRow};

use super::Passwords;
use crate::{
    attempts::{Attempt, Counted},
    failure::Failure,
    username,
};

/// The outcome of a check.
pub(crate) enum PasswordCheck {
    /// The password is right.
    Right(Box<UserRow>, Counted),
    /// There is no such user, or the password is wrong.
    Wrong,
    /// There were too many attempts.
    TooMany { retry_after: Duration },
}

impl Passwords {
    /// Checks the password of `user`, a localpart or a full user ID. Takes just as long for a user
    /// who does not exist.
    pub(crate) async fn check(
        &self,
        user: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<PasswordCheck, Failure> {
        let candidates = username::candidates(user, &self.server_name);
        let mut found = None;
        let mut conn = self.store.read().await?;
        for candidate in &candidates {
            found = users::find(&mut conn, candidate).await?;
            if found.is_some() {
                break;
            }
        }
        drop(conn);

        // All spellings of a user ID share one count.
        let counted_as = found.as_ref().map(|user| &user.user_id).or(candidates.last());
        let counted_as = counted_as.map(AsRef::as_ref);
        let counted = match self.attempts.login(counted_as, address).await? {
            Attempt::Counted(counted) => counted,
            Attempt::TooMany { retry_after } => {
                self.note_failed_login(counted_as, address, true);
                return Ok(PasswordCheck::TooMany { retry_after });
            }
        };
        let hash = found.as_ref().and_then(|user| user.password_hash.clone());
        let is_right = self.hasher.verify(password, hash).await?;
        if !is_right {
            self.note_failed_login(counted_as, address, false);
        }
        Ok(match found {
            Some(user) if is_right => PasswordCheck::Right(Box::new(user), counted),
            _ => PasswordCheck::Wrong,
        })
    }
}
