//! The profiles of this server's users: named fields, each with a JSON value.

use ruma::UserId;

use crate::{Conn, Result};

/// All fields of a user's profile with their values as JSON, by name.
pub async fn fields(conn: &mut Conn, user_id: &UserId) -> Result<Vec<(String, String)>> {
    conn.all(
        "SELECT field, value FROM profile_fields WHERE user_id = $1 ORDER BY field",
        &[user_id.as_str().into()],
    )
    .await
}

/// The value of one field, as JSON.
pub async fn field(conn: &mut Conn, user_id: &UserId, field: &str) -> Result<Option<String>> {
    let found: Option<(String,)> = conn
        .optional(
            "SELECT value FROM profile_fields WHERE user_id = $1 AND field = $2",
            &[user_id.as_str().into(), field.into()],
        )
        .await?;
    Ok(found.map(|(value,)| value))
}

/// Sets a field to a JSON value.
pub async fn set(conn: &mut Conn, user_id: &UserId, field: &str, value: &str) -> Result<()> {
    conn.execute(
        "INSERT INTO profile_fields (user_id, field, value) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value",
        &[user_id.as_str().into(), field.into(), value.into()],
    )
    .await?;
    Ok(())
}

/// Removes a field.
pub async fn delete(conn: &mut Conn, user_id: &UserId, field: &str) -> Result<()> {
    conn.execute(
        "DELETE FROM profile_fields WHERE user_id = $1 AND field = $2",
        &[user_id.as_str().into(), field.into()],
    )
    .await?;
    Ok(())
}
