//! Used nonces of registration with the shared secret. Each is good for one account.

use crate::{Conn, Result};

/// Uses up a nonce that was issued at `given_ms`. Returns false if it had been used before.
pub async fn take(conn: &mut Conn, nonce: &str, given_ms: i64) -> Result<bool> {
    let taken = conn
        .execute(
            "INSERT INTO registration_nonces (nonce, created_ms) VALUES ($1, $2)
             ON CONFLICT DO NOTHING",
            &[nonce.into(), given_ms.into()],
        )
        .await?;
    Ok(taken == 1)
}

/// Deletes nonces issued before `oldest_ms`, and returns how many.
pub async fn prune(conn: &mut Conn, oldest_ms: i64) -> Result<u64> {
    conn.execute("DELETE FROM registration_nonces WHERE created_ms < $1", &[oldest_ms.into()]).await
}
