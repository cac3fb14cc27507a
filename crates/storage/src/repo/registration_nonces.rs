//! Nonces of the registration by shared secret, each good for one try.

use crate::{Conn, Result};

/// Adds a nonce, unless `limit` of them are there. Says whether it was added.
pub async fn insert(conn: &mut Conn, nonce: &str, now_ms: i64, limit: i64) -> Result<bool> {
    let inserted = conn
        .execute(
            "INSERT INTO registration_nonces (nonce, created_ms)
             SELECT $1, $2 WHERE (SELECT COUNT(*) FROM registration_nonces) < $3",
            &[nonce.into(), now_ms.into(), limit.into()],
        )
        .await?;
    Ok(inserted == 1)
}

/// Uses a nonce up. Says whether it was there and made no earlier than `oldest_ms`.
pub async fn take(conn: &mut Conn, nonce: &str, oldest_ms: i64) -> Result<bool> {
    let taken: Option<(i64,)> = conn
        .optional(
            "DELETE FROM registration_nonces WHERE nonce = $1 RETURNING created_ms",
            &[nonce.into()],
        )
        .await?;
    Ok(taken.is_some_and(|(created_ms,)| created_ms >= oldest_ms))
}

/// Deletes nonces made before `oldest_ms`. Says how many.
pub async fn prune(conn: &mut Conn, oldest_ms: i64) -> Result<u64> {
    conn.execute("DELETE FROM registration_nonces WHERE created_ms < $1", &[oldest_ms.into()]).await
}
