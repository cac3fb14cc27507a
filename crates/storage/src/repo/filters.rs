//! The filters that clients have uploaded. A filter never changes.

use ruma::UserId;

use crate::{Conn, Result};

/// Stores a filter, unless it exists or its user has `limit` of them. Returns whether it exists
/// now.
pub async fn insert(
    conn: &mut Conn,
    user_id: &UserId,
    filter_id: &str,
    definition: &str,
    now_ms: i64,
    limit: i64,
) -> Result<bool> {
    let user = user_id.as_str();
    let inserted = conn
        .execute(
            "INSERT INTO filters (user_id, filter_id, definition, created_ms)
             SELECT $1, $2, $3, $4
             WHERE (SELECT COUNT(*) FROM filters WHERE user_id = $1) < $5
             ON CONFLICT DO NOTHING",
            &[user.into(), filter_id.into(), definition.into(), now_ms.into(), limit.into()],
        )
        .await?;
    Ok(inserted == 1 || find(conn, user_id, filter_id).await?.is_some())
}

/// The definition of a filter, as JSON.
pub async fn find(conn: &mut Conn, user_id: &UserId, filter_id: &str) -> Result<Option<String>> {
    let found: Option<(String,)> = conn
        .optional(
            "SELECT definition FROM filters WHERE user_id = $1 AND filter_id = $2",
            &[user_id.as_str().into(), filter_id.into()],
        )
        .await?;
    Ok(found.map(|(definition,)| definition))
}
