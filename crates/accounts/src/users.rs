//! The accounts themselves.

mod deactivate;
mod erase;

use std::sync::Arc;

use ruma::{OwnedUserId, UserId};
use stoa_base::Clock;
use stoa_storage::{
    Store,
    log::Writer,
    repo::users::{self, UserRow},
};

use crate::{failure::Failure, sessions::Sessions};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its user ID.
    pub user_id: OwnedUserId,
    /// Whether the user is an admin of this server.
    pub is_admin: bool,
    /// Whether it is deactivated.
    pub is_deactivated: bool,
    /// When it was created, in milliseconds since the Unix epoch.
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

/// The local users.
#[derive(Debug)]
pub struct Users {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) clock: Clock,
    pub(crate) sessions: Arc<Sessions>,
}

impl Users {
    /// A local account.
    pub async fn find(&self, user_id: &UserId) -> Result<Option<User>, Failure> {
        let found = users::find(&mut self.store.read().await?, user_id).await?;
        Ok(found.map(User::from))
    }
}
