//! New accounts.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// A new account, to be guarded by [`AccountState::Absent`](super::AccountState).
#[derive(Clone, Debug, Serialize)]
pub struct NewUserRow {
    /// Its Matrix ID.
    pub user_id: String,
    /// The hash of its password as a PHC string; `None` if it cannot log in with a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// 1 if the user is an admin of this server, else 0.
    pub admin: i64,
    /// When it was created, in milliseconds.
    pub created_ms: i64,
}

impl TableRow for NewUserRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO users (user_id, password_hash, admin, created_ms)
SELECT value->>'user_id', value->>'password_hash', value->>'admin', value->>'created_ms'
FROM json_each($1)"];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id])?;
        check::texts(&self.password_hash)
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
