//! Sessions that end while their devices stay.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// The end of a session whose device stays. The session's tokens are deleted.
#[derive(Clone, Debug, Serialize)]
pub struct SessionEndRow {
    /// The Matrix ID of the session's user.
    pub user_id: String,
    /// The ID of the session.
    pub session_id: String,
    /// When it ends, in milliseconds.
    pub ended_ms: i64,
}

impl TableRow for SessionEndRow {
    // The session's row stays, to remember that it existed, and so does its device.
    const SQLITE: &'static [&'static str] = &[
        "
UPDATE sessions SET ended_ms = e.value->>'ended_ms'
FROM json_each($1) AS e
WHERE sessions.session_id = e.value->>'session_id'",
        "
DELETE FROM access_tokens WHERE session_id IN (SELECT value->>'session_id' FROM json_each($1))",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.session_id])
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
