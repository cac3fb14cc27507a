//! Users who lose all their devices.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// The removal of all of a user's devices, with their sessions.
#[derive(Clone, Debug, Serialize)]
pub struct AllDeviceRemovalsRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// A device that stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except_device: Option<String>,
}

impl TableRow for AllDeviceRemovalsRow {
    const SQLITE: &'static [&'static str] = &[
        "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s ON s.user_id = d.value->>'user_id'
    WHERE d.value->>'except_device' IS NULL OR s.device_id IS NOT d.value->>'except_device')",
        "
DELETE FROM access_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s ON s.user_id = d.value->>'user_id'
    WHERE d.value->>'except_device' IS NULL OR s.device_id IS NOT d.value->>'except_device')",
        "
DELETE FROM sessions WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s ON s.user_id = d.value->>'user_id'
    WHERE d.value->>'except_device' IS NULL OR s.device_id IS NOT d.value->>'except_device')",
        "
DELETE FROM devices WHERE (user_id, device_id) IN (
    SELECT t.user_id, t.device_id FROM json_each($1) AS d
    JOIN devices t ON t.user_id = d.value->>'user_id'
    WHERE t.device_id IS NOT d.value->>'except_device')",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id])?;
        check::identifiers(&self.except_device)
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
