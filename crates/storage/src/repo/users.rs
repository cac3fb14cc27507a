//! The accounts of this server. They are created and changed through the log.

use ruma::{OwnedUserId, UserId};

use crate::{Conn, Error, FromRow, Result, Row};

/// An account as it is stored.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// Its Matrix ID.
    pub user_id: OwnedUserId,
    /// The hash of its password as a PHC string; `None` if it cannot log in with a password.
    pub password_hash: Option<String>,
    /// Whether the user is an admin of this server.
    pub admin: bool,
    /// When it was created, in milliseconds.
    pub created_ms: i64,
    /// Whether it is deactivated.
    pub deactivated: bool,
}

impl FromRow for UserRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            user_id: user_id_at(row, 0)?,
            password_hash: row.get(1)?,
            admin: row.get(2)?,
            created_ms: row.get(3)?,
            deactivated: row.get(4)?,
        })
    }
}

/// The Matrix ID in the column at `index`.
pub(super) fn user_id_at(row: &Row, index: usize) -> Result<OwnedUserId> {
    UserId::parse(row.get::<String>(index)?).map_err(Error::corrupt)
}

/// The account with this user ID.
pub async fn find(conn: &mut Conn, user_id: &UserId) -> Result<Option<UserRow>> {
    conn.optional(
        "SELECT user_id, password_hash, admin, created_ms, deactivated FROM users
         WHERE user_id = $1",
        &[user_id.as_str().into()],
    )
    .await
}

/// Locks the account's row until the transaction ends, so that facts checked about it stay true.
/// Returns whether such an account exists and is not deactivated.
pub async fn lock(conn: &mut Conn, user_id: &UserId) -> Result<bool> {
    let locked = conn
        .execute(
            "UPDATE users SET admin = admin WHERE user_id = $1 AND deactivated = 0",
            &[user_id.as_str().into()],
        )
        .await?;
    Ok(locked == 1)
}
