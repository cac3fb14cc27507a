//! Changing a password. The caller has already authorized this with interactive authentication.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>

use stoa_base::Actor;
use stoa_storage::log::{
    AccountState, AccountUpdateRow, Append, AppendError, AuditAction, AuditRow, Guard,
};

use super::{
    Passwords,
    hashing::{UnfitPassword, check_new_password},
};
use crate::{
    failure::{Failure, fails_with_failure},
    sessions::{EndOfDevices, guard_actor},
};

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// There is no such account, or it is deactivated.
    #[error("there is no such account")]
    UnknownUser,
    /// The new password is not allowed.
    #[error(transparent)]
    Password(#[from] UnfitPassword),
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(ChangePasswordError);

impl Passwords {
    /// Sets the actor's password. If `logout_devices`, removes all of their other devices.
    #[tracing::instrument(name = "change_password", level = "debug", skip_all)]
    pub async fn change(
        &self,
        actor: &Actor,
        new_password: &str,
        logout_devices: bool,
    ) -> Result<(), ChangePasswordError> {
        check_new_password(new_password)?;
        let hash = self.hasher.hash(new_password).await?;
        let user_id = &*actor.user_id;
        let now_ms = self.clock.now_ms();
        let mut append = Append::new();
        append.guards.push(Guard::Account(user_id.to_string(), AccountState::Open));
        append.account_updates.push(AccountUpdateRow {
            user_id: user_id.to_string(),
            password_hash: Some(hash),
            ..AccountUpdateRow::default()
        });
        let row = AuditRow::new(now_ms, AuditAction::PasswordChanged, actor, user_id.as_str());
        append.audit.push(row);
        let written = if logout_devices {
            // A concurrent login with the old password fails: it is guarded by the password hash
            // that it has checked.
            let kept = actor.device_id.as_deref();
            let end = EndOfDevices { actor, user_id, kept, reason: "password_changed" };
            self.sessions.end_devices(append, end).await
        } else {
            guard_actor(&mut append, actor);
            self.writer.append(append).await.map(drop).map_err(Failure::from)
        };
        match written {
            Ok(()) => {}
            Err(Failure::Append(AppendError::AccountChanged)) => {
                return Err(ChangePasswordError::UnknownUser);
            }
            Err(failure) => return Err(failure.into()),
        }
        tracing::info!(user = %user_id, address = ?actor.address, "password changed");
        Ok(())
    }
}
