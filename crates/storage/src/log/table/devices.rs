//! New devices.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// A new device. If the user already has one with this ID, that one stays as it is.
#[derive(Clone, Debug, Serialize)]
pub struct NewDeviceRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The device ID.
    pub device_id: String,
    /// The display name that its user gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When it was created, in milliseconds.
    pub created_ms: i64,
}

impl TableRow for NewDeviceRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO devices (user_id, device_id, display_name, created_ms, generation)
SELECT value->>'user_id', value->>'device_id', value->>'display_name', value->>'created_ms', $2 + 1
FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING"];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.device_id])?;
        check::texts(&self.display_name)
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
