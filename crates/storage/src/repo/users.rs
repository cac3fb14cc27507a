//! The accounts of this server.

use ruma::{OwnedUserId, UserId};

use crate::{Conn, Error, FromRow, Result, Row};

/// An account.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// Its Matrix ID.
    pub user_id: OwnedUserId,
    /// Its password, hashed, as a PHC string; none where it cannot log in with one.
    pub password_hash: Option<String>,
    /// Whether it may use the admin API.
    pub admin: bool,
    /// When it was made, in milliseconds.
    pub created_ms: i64,
    /// Whether it was closed.
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

/// Makes an account, unless there is one with this name. Says whether it was made.
pub async fn insert(conn: &mut Conn, user: &UserRow) -> Result<bool> {
    let inserted = conn
        .execute(
            "INSERT INTO users (user_id, password_hash, admin, created_ms, deactivated)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            &[
                user.user_id.as_str().into(),
                user.password_hash.as_deref().into(),
                user.admin.into(),
                user.created_ms.into(),
                user.deactivated.into(),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// The account with this name.
pub async fn find(conn: &mut Conn, user_id: &UserId) -> Result<Option<UserRow>> {
    conn.optional(
        "SELECT user_id, password_hash, admin, created_ms, deactivated FROM users
         WHERE user_id = $1",
        &[user_id.as_str().into()],
    )
    .await
}

/// Holds the account's row until the transaction ends, so that what is checked in it stays true.
/// Says whether there is such an account.
pub async fn lock(conn: &mut Conn, user_id: &UserId) -> Result<bool> {
    let locked = conn
        .execute("UPDATE users SET admin = admin WHERE user_id = $1", &[user_id.as_str().into()])
        .await?;
    Ok(locked == 1)
}

/// Like [`lock`], where the account is open and its password is still the one with this hash.
pub async fn lock_for_login(
    conn: &mut Conn,
    user_id: &UserId,
    password_hash: Option<&str>,
) -> Result<bool> {
    let locked = conn
        .execute(
            "UPDATE users SET admin = admin
             WHERE user_id = $1 AND deactivated = 0 AND password_hash IS NOT DISTINCT FROM $2",
            &[user_id.as_str().into(), password_hash.into()],
        )
        .await?;
    Ok(locked == 1)
}

/// Sets the password. Says whether there is such an account.
pub async fn set_password(conn: &mut Conn, user_id: &UserId, hash: &str) -> Result<bool> {
    let changed = conn
        .execute(
            "UPDATE users SET password_hash = $2 WHERE user_id = $1",
            &[user_id.as_str().into(), hash.into()],
        )
        .await?;
    Ok(changed == 1)
}

/// Sets whether the account may use the admin API. Says whether there is such an account.
pub async fn set_admin(conn: &mut Conn, user_id: &UserId, admin: bool) -> Result<bool> {
    let changed = conn
        .execute(
            "UPDATE users SET admin = $2 WHERE user_id = $1",
            &[user_id.as_str().into(), admin.into()],
        )
        .await?;
    Ok(changed == 1)
}

/// Closes the account. Says whether there is such an account.
pub async fn deactivate(conn: &mut Conn, user_id: &UserId) -> Result<bool> {
    let changed = conn
        .execute("UPDATE users SET deactivated = 1 WHERE user_id = $1", &[user_id.as_str().into()])
        .await?;
    Ok(changed == 1)
}
