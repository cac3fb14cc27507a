//! Removals of devices.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// The removal of a device, with its session.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceRemovalRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The device ID.
    pub device_id: String,
}

impl TableRow for DeviceRemovalRow {
    const SQLITE: &'static [&'static str] = &[
        "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s
    ON s.user_id = d.value->>'user_id' AND s.device_id = d.value->>'device_id')",
        "
DELETE FROM access_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s
    ON s.user_id = d.value->>'user_id' AND s.device_id = d.value->>'device_id')",
        "
DELETE FROM sessions WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
        "
DELETE FROM devices WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.device_id])
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
