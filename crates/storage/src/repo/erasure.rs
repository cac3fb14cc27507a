//! What is deleted with a deactivated account, and what is erased at the user's request. The
//! account's row stays, so that nobody else can take the name.

use ruma::{OwnedUserId, UserId};
use stoa_base::Pos;

use super::users::user_id_at;
use crate::{Conn, FromRow, Result, Row};

struct ErasedUser(OwnedUserId, Pos);

impl FromRow for ErasedUser {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(user_id_at(row, 0)?, Pos(row.get(1)?)))
    }
}

/// Marks a user as erased. The caller tells the other nodes through the log.
pub async fn mark(conn: &mut Conn, user_id: &UserId) -> Result<()> {
    let now_ms = conn.now_ms().await?;
    conn.execute(
        "INSERT INTO erased_users (user_id, erased_ms, erased_pos)
         SELECT $1, $2, coalesce(max(last_pos), 0) FROM log_batches WHERE true
         ON CONFLICT DO NOTHING",
        &[user_id.as_str().into(), now_ms.into()],
    )
    .await?;
    Ok(())
}

/// All erased users, each with the end of the log when they were erased.
pub async fn erased_users(conn: &mut Conn) -> Result<Vec<(OwnedUserId, Pos)>> {
    let rows: Vec<ErasedUser> =
        conn.all("SELECT user_id, erased_pos FROM erased_users", &[]).await?;
    Ok(rows.into_iter().map(|row| (row.0, row.1)).collect())
}

/// Deletes a user's interactive authentication sessions.
pub async fn delete_interactive_auth(conn: &mut Conn, user_id: &UserId) -> Result<()> {
    let user = [user_id.as_str().into()];
    conn.execute("DELETE FROM interactive_auth_sessions WHERE user_id = $1", &user).await?;
    Ok(())
}

/// Deletes the password of a deactivated account.
pub async fn delete_password(conn: &mut Conn, user_id: &UserId) -> Result<()> {
    conn.execute(
        "UPDATE users SET password_hash = NULL
         WHERE user_id = $1 AND deactivated = 1 AND password_hash IS NOT NULL",
        &[user_id.as_str().into()],
    )
    .await?;
    Ok(())
}

/// Deletes a user's whole profile, which is small.
pub async fn delete_profile(conn: &mut Conn, user_id: &UserId) -> Result<()> {
    conn.execute("DELETE FROM profile_fields WHERE user_id = $1", &[user_id.as_str().into()])
        .await?;
    Ok(())
}

/// Deletes up to `limit` rows of a user's account data, and returns how many.
pub async fn delete_account_data(conn: &mut Conn, user_id: &UserId, limit: i64) -> Result<u64> {
    conn.execute(
        "DELETE FROM account_data WHERE (user_id, room_nid, type) IN (
             SELECT user_id, room_nid, type FROM account_data WHERE user_id = $1 LIMIT $2)",
        &[user_id.as_str().into(), limit.into()],
    )
    .await
}

/// Deletes up to `limit` of a user's filters, and returns how many.
pub async fn delete_filters(conn: &mut Conn, user_id: &UserId, limit: i64) -> Result<u64> {
    conn.execute(
        "DELETE FROM filters WHERE (user_id, filter_id) IN (
             SELECT user_id, filter_id FROM filters WHERE user_id = $1 LIMIT $2)",
        &[user_id.as_str().into(), limit.into()],
    )
    .await
}
