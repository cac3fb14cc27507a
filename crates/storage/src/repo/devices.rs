//! The devices of this server's users. Devices are created and removed through the log, with their
//! sessions.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use serde::Serialize;

use crate::{Backend, Conn, FromRow, Result, Row, Store};

/// A device as it is stored.
#[derive(Clone, Debug)]
pub struct DeviceRow {
    /// Its ID, unique per user.
    pub device_id: OwnedDeviceId,
    /// The display name that its user gave it.
    pub display_name: Option<String>,
    /// When it made its last request, in milliseconds, accurate to a few minutes.
    pub last_seen_ms: Option<i64>,
    /// The address of that request.
    pub last_seen_address: Option<String>,
}

impl FromRow for DeviceRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            device_id: row.get::<String>(0)?.into(),
            display_name: row.get(1)?,
            last_seen_ms: row.get(2)?,
            last_seen_address: row.get(3)?,
        })
    }
}

/// A user's devices, by ID.
pub async fn list(conn: &mut Conn, user_id: &UserId) -> Result<Vec<DeviceRow>> {
    conn.all(
        "SELECT device_id, display_name, last_seen_ms, last_seen_address FROM devices
         WHERE user_id = $1 ORDER BY device_id",
        &[user_id.as_str().into()],
    )
    .await
}

/// One of a user's devices.
pub async fn find(
    conn: &mut Conn,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<Option<DeviceRow>> {
    conn.optional(
        "SELECT device_id, display_name, last_seen_ms, last_seen_address FROM devices
         WHERE user_id = $1 AND device_id = $2",
        &[user_id.as_str().into(), device_id.as_str().into()],
    )
    .await
}

/// A user's devices except the `kept` most recently used ones, at most a thousand. `but` counts as
/// used just now.
pub async fn longest_unused(
    conn: &mut Conn,
    user_id: &UserId,
    but: &DeviceId,
    kept: i64,
) -> Result<Vec<OwnedDeviceId>> {
    let rows: Vec<(String,)> = conn
        .all(
            "SELECT device_id FROM devices WHERE user_id = $1 AND device_id <> $2
             ORDER BY COALESCE(last_seen_ms, created_ms) DESC, device_id LIMIT 1000 OFFSET $3",
            &[user_id.as_str().into(), but.as_str().into(), (kept - 1).max(0).into()],
        )
        .await?;
    Ok(rows.into_iter().map(|(device_id,)| device_id.into()).collect())
}

/// When and from where a device made a request.
#[derive(Clone, Debug, Serialize)]
pub struct LastSeenRow {
    /// The Matrix ID of the session's user.
    pub user_id: OwnedUserId,
    /// The device ID.
    pub device_id: OwnedDeviceId,
    /// When it made the request, in milliseconds.
    pub ms: i64,
    /// The address of the request.
    pub address: Option<String>,
}

const LAST_SEEN_SQLITE: &str = "
UPDATE devices SET last_seen_ms = s.value->>'ms', last_seen_address = s.value->>'address'
FROM json_each($1) AS s
WHERE devices.user_id = s.value->>'user_id' AND devices.device_id = s.value->>'device_id'
    AND (devices.last_seen_ms IS NULL OR devices.last_seen_ms < s.value->>'ms')";

// A device that is locked by another transaction is skipped, so that this waits for nobody and
// cannot be part of a deadlock.
const LAST_SEEN_POSTGRES: &str = "
UPDATE devices SET last_seen_ms = free.ms, last_seen_address = free.address
FROM (
    SELECT d.user_id, d.device_id, s.ms, s.address
    FROM jsonb_to_recordset($1::jsonb)
        AS s(user_id TEXT, device_id TEXT, ms BIGINT, address TEXT)
    JOIN devices d ON d.user_id = s.user_id AND d.device_id = s.device_id
    WHERE d.last_seen_ms IS NULL OR d.last_seen_ms < s.ms
    FOR UPDATE OF d SKIP LOCKED
) AS free
WHERE devices.user_id = free.user_id AND devices.device_id = free.device_id";

/// Notes when devices were last seen. Best effort: if it fails, the next request makes up for it.
pub async fn set_last_seen(store: &Store, seen: &[LastSeenRow]) -> Result<()> {
    let sql = match store.backend() {
        Backend::Sqlite => LAST_SEEN_SQLITE,
        Backend::Postgres => LAST_SEEN_POSTGRES,
    };
    let mut conn = store.write().await?;
    conn.execute(sql, &[crate::Bind::list(seen)]).await?;
    conn.commit().await
}
