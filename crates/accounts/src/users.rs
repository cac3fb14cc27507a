//! The accounts themselves.

use ruma::{OwnedUserId, UserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{AccountUpdateRow, Append, AppendError, AuditAction, AuditRow},
    repo::users::{self, UserRow},
};

use crate::{Accounts, Failure, logout::EndOfDevices};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its Matrix ID.
    pub user_id: OwnedUserId,
    /// Whether it may use the admin API.
    pub is_admin: bool,
    /// Whether it is closed.
    pub is_deactivated: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            user_id: row.user_id,
            is_admin: row.admin,
            is_deactivated: row.deactivated,
            created_ms: row.created_ms,
        }
    }
}

impl Accounts {
    /// An account of this server.
    pub async fn user(&self, user_id: &UserId) -> Result<Option<User>, Failure> {
        let found = users::find(&mut self.store.read().await?, user_id).await?;
        Ok(found.map(User::from))
    }

    /// Closes an account and ends its sessions. May be repeated. Says whether there is such a user.
    pub async fn deactivate(&self, actor: &Actor, user_id: &UserId) -> Result<bool, Failure> {
        let update = AccountUpdateRow {
            user_id: user_id.to_string(),
            deactivated: Some(1),
            ..AccountUpdateRow::default()
        };
        let Some(user) = self.user(user_id).await? else { return Ok(false) };
        if user.is_deactivated && self.devices(user_id).await?.is_empty() {
            return Ok(true);
        }
        let now_ms = self.clock.now_ms();
        let row = AuditRow::new(now_ms, AuditAction::AccountDeactivated, actor, user_id.as_str());
        let mut append = Append::new();
        append.account_updates.push(update);
        append.audit.push(row);
        let end = EndOfDevices { actor, user_id, kept: None, reason: "deactivated" };
        match self.end_devices(append, end).await {
            Ok(()) => {
                tracing::info!(by = %actor.user_id, user = %user_id, "account deactivated");
                Ok(true)
            }
            // Perhaps because somebody else has just done the same.
            Err(Failure::Append(AppendError::SessionEnded)) => match self.user(user_id).await? {
                Some(user) if user.is_deactivated => Ok(true),
                _ => Err(AppendError::SessionEnded.into()),
            },
            Err(error) => Err(error),
        }
    }
}
