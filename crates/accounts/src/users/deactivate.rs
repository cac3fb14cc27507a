//! Deactivating an account.

use ruma::UserId;
use stoa_base::Actor;
use stoa_storage::{
    log::{AccountUpdateRow, Append, AppendError, AuditAction, AuditRow},
    repo::devices,
};

use super::Users;
use crate::{failure::Failure, sessions::EndOfDevices};

impl Users {
    /// Deactivates an account and ends its sessions. Can be repeated. Returns whether the user
    /// exists.
    pub async fn deactivate(&self, actor: &Actor, user_id: &UserId) -> Result<bool, Failure> {
        let update = AccountUpdateRow {
            user_id: user_id.to_string(),
            deactivated: Some(1),
            ..AccountUpdateRow::default()
        };
        let Some(user) = self.find(user_id).await? else { return Ok(false) };
        if user.is_deactivated
            && devices::list(&mut self.store.read().await?, user_id).await?.is_empty()
        {
            return Ok(true);
        }
        let now_ms = self.clock.now_ms();
        let row = AuditRow::new(now_ms, AuditAction::AccountDeactivated, actor, user_id.as_str());
        let mut append = Append::new();
        append.account_updates.push(update);
        append.audit.push(row);
        let end = EndOfDevices { actor, user_id, kept: None, reason: "deactivated" };
        match self.sessions.end_devices(append, end).await {
            Ok(()) => {
                tracing::info!(by = %actor.user_id, user = %user_id, "account deactivated");
                Ok(true)
            }
            // Perhaps a concurrent request has just done the same.
            Err(Failure::Append(AppendError::SessionEnded)) => match self.find(user_id).await? {
                Some(user) if user.is_deactivated => Ok(true),
                _ => Err(AppendError::SessionEnded.into()),
            },
            Err(error) => Err(error),
        }
    }
}
