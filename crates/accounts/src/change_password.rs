//! Setting another password. That the user may is found out before, by interactive authentication.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>

use stoa_base::Actor;
use stoa_storage::repo::users;

use crate::{
    Accounts, Failure,
    failure::fails_with_failure,
    passwords::{UnfitPassword, check_new_password},
};

/// Why a password is not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// There is no such account.
    #[error("there is no such account")]
    UnknownUser,
    /// The new password is one that nobody may choose.
    #[error(transparent)]
    Password(#[from] UnfitPassword),
    /// The server is at fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(ChangePasswordError);

impl Accounts {
    /// Sets the actor's password. With `logout_devices`, all other devices are removed.
    pub async fn change_password(
        &self,
        actor: &Actor,
        new_password: &str,
        logout_devices: bool,
    ) -> Result<(), ChangePasswordError> {
        check_new_password(new_password)?;
        let hash = self.passwords.hash(new_password).await?;
        let mut conn = self.store.write().await?;
        if !users::set_password(&mut conn, &actor.user_id, &hash).await? {
            return Err(ChangePasswordError::UnknownUser);
        }
        conn.commit().await?;
        tracing::info!(user = %actor.user_id, address = ?actor.address, "password changed");
        if logout_devices {
            // Whoever logs in with the old password now is too late: a login holds the account's
            // row and finds another hash in it.
            self.end_devices_except(&actor.user_id, actor.device_id.as_ref()).await?;
        }
        Ok(())
    }
}
