//! The accounts themselves.

use ruma::{OwnedUserId, UserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{Append, Stream},
    repo::users::{self, UserRow},
};

use crate::{Accounts, Failure};

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

    /// Sets whether a user may use the admin API. Says whether there is such a user.
    pub async fn set_admin(
        &self,
        actor: &Actor,
        user_id: &UserId,
        admin: bool,
    ) -> Result<bool, Failure> {
        let mut conn = self.store.write().await?;
        let is_there = users::set_admin(&mut conn, user_id, admin).await?;
        conn.commit().await?;
        if is_there {
            tracing::info!(by = %actor.user_id, user = %user_id, admin, "admin flag set");
            let mut append = Append::new();
            append.touched.add(Stream::Sessions, user_id);
            self.writer.append(append).await?;
        }
        Ok(is_there)
    }

    /// Closes an account and ends its sessions. May be repeated. Says whether there is such a user.
    pub async fn deactivate(&self, actor: &Actor, user_id: &UserId) -> Result<bool, Failure> {
        let mut conn = self.store.write().await?;
        let is_there = users::deactivate(&mut conn, user_id).await?;
        conn.commit().await?;
        if is_there {
            tracing::info!(by = %actor.user_id, user = %user_id, "account deactivated");
            self.end_devices_except(user_id, None).await?;
        }
        Ok(is_there)
    }
}
