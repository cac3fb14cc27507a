//! The deployment's signing keys and its other secrets.

use crate::{Backend, Bind, Conn, FromRow, Result, Row};

/// A key that this server signs with.
#[derive(Clone)]
pub struct SigningKeyRow {
    /// The key's identifier after `ed25519:`.
    pub key_id: String,
    /// The private key as a PKCS#8 document.
    pub pkcs8: Vec<u8>,
    /// When it was created, in milliseconds.
    pub created_ms: i64,
}

impl FromRow for SigningKeyRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { key_id: row.get(0)?, pkcs8: row.get(1)?, created_ms: row.get(2)? })
    }
}

/// Stores a secret of the deployment under a name unless one exists, and returns the one that is
/// stored.
pub async fn secret_or_insert(conn: &mut Conn, name: &str, secret: &str) -> Result<String> {
    conn.execute(
        "INSERT INTO deployment (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[name.into(), secret.into()],
    )
    .await?;
    let (value,) = conn.one("SELECT value FROM deployment WHERE name = $1", &[name.into()]).await?;
    Ok(value)
}

const LOCK_POSTGRES: &str = "LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE";

/// Stores `key` unless the deployment already has a key, and returns the one it has. A concurrent
/// caller waits until this transaction ends, and gets the same key.
pub async fn signing_key_or_insert(conn: &mut Conn, key: &SigningKeyRow) -> Result<SigningKeyRow> {
    if conn.backend() == Backend::Postgres {
        conn.execute(LOCK_POSTGRES, &[]).await?;
    }
    conn.execute(
        "INSERT INTO signing_keys (key_id, pkcs8, created_ms)
         SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM signing_keys)",
        &[(&key.key_id).into(), Bind::Bytes(&key.pkcs8), key.created_ms.into()],
    )
    .await?;
    conn.one(
        "SELECT key_id, pkcs8, created_ms FROM signing_keys ORDER BY created_ms DESC LIMIT 1",
        &[],
    )
    .await
}

/// The key with this identifier, which may no longer be in use.
pub async fn signing_key(conn: &mut Conn, key_id: &str) -> Result<Option<SigningKeyRow>> {
    conn.optional(
        "SELECT key_id, pkcs8, created_ms FROM signing_keys WHERE key_id = $1",
        &[key_id.into()],
    )
    .await
}
