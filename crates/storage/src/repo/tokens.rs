//! Sessions and their access tokens, each with the refresh token that was issued with it. Only
//! hashes are stored. All of them are written through the log.
//!
//! Refreshing adds a token whose `parent_hash` names the token that it was refreshed from. Both are
//! valid until the new one is first used. Then the parent is deleted, with everything else that was
//! refreshed from it, and its refresh token is remembered as spent (`TokenRemovalRow`). So a token
//! whose parent is gone is dead: another one took the parent's place.

use ruma::{OwnedDeviceId, OwnedUserId};

use super::users::user_id_at;
use crate::{Conn, FromRow, Result, Row};

/// A token that is valid, except that it may have expired.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// The access token's hash.
    pub token_hash: String,
    /// The token's session.
    pub session_id: String,
    /// How often the session had been refreshed when the token was issued.
    pub generation: i64,
    /// The Matrix ID of the session's user.
    pub user_id: OwnedUserId,
    /// The token's device.
    pub device_id: OwnedDeviceId,
    /// When the access token expires, in milliseconds.
    pub expires_ms: Option<i64>,
    /// When the session ends, no matter how often it is refreshed, in milliseconds.
    pub session_expires_ms: Option<i64>,
    /// The hash of the access token that it was refreshed from, until it is first used.
    pub parent_hash: Option<String>,
    /// Whether the user is an admin of this server.
    pub admin: bool,
    /// Distinguishes the device from earlier ones of its user with the same ID.
    pub device_generation: i64,
}

impl FromRow for TokenRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            token_hash: row.get(0)?,
            session_id: row.get(1)?,
            generation: row.get(2)?,
            user_id: user_id_at(row, 3)?,
            device_id: row.get::<String>(4)?.into(),
            expires_ms: row.get(5)?,
            session_expires_ms: row.get(6)?,
            parent_hash: row.get(7)?,
            admin: row.get(8)?,
            device_generation: row.get(9)?,
        })
    }
}

/// The session of an access token, by the token's hash.
pub async fn by_access_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<TokenRow>> {
    conn.optional(
        "SELECT t.token_hash, t.session_id, t.generation, s.user_id, s.device_id, t.expires_ms,
             s.expires_ms, t.parent_hash, u.admin, d.generation
         FROM access_tokens t
         JOIN sessions s ON s.session_id = t.session_id
         JOIN users u ON u.user_id = s.user_id AND u.deactivated = 0
         JOIN devices d ON d.user_id = s.user_id AND d.device_id = s.device_id
         LEFT JOIN access_tokens p ON p.token_hash = t.parent_hash
         WHERE t.token_hash = $1 AND (t.parent_hash IS NULL OR p.token_hash IS NOT NULL)",
        &[token_hash.into()],
    )
    .await
}

/// The session of a refresh token, by the token's hash.
pub async fn by_refresh_hash(conn: &mut Conn, refresh_hash: &str) -> Result<Option<TokenRow>> {
    conn.optional(
        "SELECT t.token_hash, t.session_id, t.generation, s.user_id, s.device_id, t.expires_ms,
             s.expires_ms, t.parent_hash, u.admin, d.generation
         FROM access_tokens t
         JOIN sessions s ON s.session_id = t.session_id
         JOIN users u ON u.user_id = s.user_id AND u.deactivated = 0
         JOIN devices d ON d.user_id = s.user_id AND d.device_id = s.device_id
         LEFT JOIN access_tokens p ON p.token_hash = t.parent_hash
         WHERE t.refresh_hash = $1 AND (t.parent_hash IS NULL OR p.token_hash IS NOT NULL)",
        &[refresh_hash.into()],
    )
    .await
}

/// A session, found by one of its spent refresh tokens.
#[derive(Clone, Debug)]
pub struct SpentRow {
    /// The ID of the session.
    pub session_id: String,
    /// The Matrix ID of the session's user.
    pub user_id: OwnedUserId,
    /// The session's device, if it has one.
    pub device_id: Option<String>,
    /// When it was ended, if its device stayed.
    pub ended_ms: Option<i64>,
}

impl FromRow for SpentRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            session_id: row.get(0)?,
            user_id: user_id_at(row, 1)?,
            device_id: row.get(2)?,
            ended_ms: row.get(3)?,
        })
    }
}

/// The session that the refresh token with this hash belonged to, if the token is spent.
pub async fn by_spent_hash(conn: &mut Conn, refresh_hash: &str) -> Result<Option<SpentRow>> {
    conn.optional(
        "SELECT s.session_id, s.user_id, s.device_id, s.ended_ms
         FROM spent_refresh_tokens o JOIN sessions s ON s.session_id = o.session_id
         WHERE o.refresh_hash = $1",
        &[refresh_hash.into()],
    )
    .await
}

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSpan {
    /// When it ends by itself, in milliseconds; `None` if it does not.
    pub expires_ms: Option<i64>,
    /// When it was ended, if its device stayed.
    pub ended_ms: Option<i64>,
}

impl FromRow for SessionSpan {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { expires_ms: row.get(0)?, ended_ms: row.get(1)? })
    }
}

/// How long a session lasts; `None` if it is gone, along with its device or because another session
/// took the device over.
pub async fn session_span(conn: &mut Conn, session_id: &str) -> Result<Option<SessionSpan>> {
    conn.optional(
        "SELECT expires_ms, ended_ms FROM sessions WHERE session_id = $1",
        &[session_id.into()],
    )
    .await
}
