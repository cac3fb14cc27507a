//! Access tokens, each with the refresh token that was given out with it. Only hashes are kept.
//!
//! Refreshing adds a row whose `parent_hash` names the row it was refreshed from. Both are good
//! until the new one is first used; then the log removes the parent, and all else that was
//! refreshed from it (`TokenRemovalRow::successor`). So a token whose parent is gone is dead: another
//! one took the parent's place. Tokens end through the log only, but for those never used.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use super::users::user_id_at;
use crate::{Conn, FromRow, Result, Row};

/// A new token.
#[derive(Clone, Debug)]
pub struct NewTokenRow<'a> {
    /// The access token's hash.
    pub token_hash: &'a str,
    /// Whose it is.
    pub user_id: &'a UserId,
    /// For which device.
    pub device_id: &'a DeviceId,
    /// When it was made, in milliseconds.
    pub created_ms: i64,
    /// When the access token expires, in milliseconds.
    pub expires_ms: Option<i64>,
    /// The refresh token's hash.
    pub refresh_hash: Option<&'a str>,
    /// The hash of the access token that it was refreshed from.
    pub parent_hash: Option<&'a str>,
}

/// Adds a token.
pub async fn insert(conn: &mut Conn, token: &NewTokenRow<'_>) -> Result<()> {
    conn.execute(
        "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ms, expires_ms,
             refresh_hash, parent_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            token.token_hash.into(),
            token.user_id.as_str().into(),
            token.device_id.as_str().into(),
            token.created_ms.into(),
            token.expires_ms.into(),
            token.refresh_hash.into(),
            token.parent_hash.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A token that is good, but for its expiry.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// The access token's hash.
    pub token_hash: String,
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// For which device.
    pub device_id: OwnedDeviceId,
    /// When the access token expires, in milliseconds.
    pub expires_ms: Option<i64>,
    /// The hash of the access token that it was refreshed from, where it has not been used yet.
    pub parent_hash: Option<String>,
    /// Whether its user may use the admin API.
    pub admin: bool,
    /// Tells the device from earlier ones of its user with the same ID.
    pub device_generation: i64,
}

impl FromRow for TokenRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            token_hash: row.get(0)?,
            user_id: user_id_at(row, 1)?,
            device_id: row.get::<String>(2)?.into(),
            expires_ms: row.get(3)?,
            parent_hash: row.get(4)?,
            admin: row.get(5)?,
            device_generation: row.get(6)?,
        })
    }
}

/// What an access token stands for, by its hash.
pub async fn by_access_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<TokenRow>> {
    conn.optional(
        "SELECT t.token_hash, t.user_id, t.device_id, t.expires_ms, t.parent_hash, u.admin,
             d.generation
         FROM access_tokens t
         JOIN users u ON u.user_id = t.user_id AND u.deactivated = 0
         JOIN devices d ON d.user_id = t.user_id AND d.device_id = t.device_id
         LEFT JOIN access_tokens p ON p.token_hash = t.parent_hash
         WHERE t.token_hash = $1 AND (t.parent_hash IS NULL OR p.token_hash IS NOT NULL)",
        &[token_hash.into()],
    )
    .await
}

/// What a refresh token stands for, by its hash.
pub async fn by_refresh_hash(conn: &mut Conn, refresh_hash: &str) -> Result<Option<TokenRow>> {
    conn.optional(
        "SELECT t.token_hash, t.user_id, t.device_id, t.expires_ms, t.parent_hash, u.admin,
             d.generation
         FROM access_tokens t
         JOIN users u ON u.user_id = t.user_id AND u.deactivated = 0
         JOIN devices d ON d.user_id = t.user_id AND d.device_id = t.device_id
         LEFT JOIN access_tokens p ON p.token_hash = t.parent_hash
         WHERE t.refresh_hash = $1 AND (t.parent_hash IS NULL OR p.token_hash IS NOT NULL)",
        &[refresh_hash.into()],
    )
    .await
}

/// The hashes of all access tokens of a device.
pub async fn of_device(
    conn: &mut Conn,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = conn
        .all(
            "SELECT token_hash FROM access_tokens WHERE user_id = $1 AND device_id = $2",
            &[user_id.as_str().into(), device_id.as_str().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|(hash,)| hash).collect())
}

/// Deletes what was refreshed from a token and was never used.
///
/// This comes before [`begin_refresh`] in a transaction: the log, too, changes a token before its
/// parent, and so neither can wait for the other in a circle.
pub async fn delete_unused_successors(conn: &mut Conn, token_hash: &str) -> Result<()> {
    conn.execute("DELETE FROM access_tokens WHERE parent_hash = $1", &[token_hash.into()]).await?;
    Ok(())
}

/// Holds a token's row until the transaction ends, for another one to be refreshed from it. Says
/// whether it is still there.
pub async fn begin_refresh(conn: &mut Conn, token_hash: &str, now_ms: i64) -> Result<bool> {
    let held = conn
        .execute(
            "UPDATE access_tokens SET refreshed_ms = $2 WHERE token_hash = $1",
            &[token_hash.into(), now_ms.into()],
        )
        .await?;
    Ok(held == 1)
}
