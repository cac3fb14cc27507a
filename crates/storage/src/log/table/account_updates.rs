//! Changes to accounts.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// A change to an account. Fields that are `None` stay as they are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AccountUpdateRow {
    /// The user ID of the account.
    pub user_id: String,
    /// The new password, hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// 1 to make the user an admin of this server, 0 to revoke that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<i64>,
    /// 1 to deactivate it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<i64>,
}

impl TableRow for AccountUpdateRow {
    // Interactive authentication by the old password no longer counts.
    const SQLITE: &'static [&'static str] = &[
        "
UPDATE users SET
    password_hash = coalesce(u.value->>'password_hash', users.password_hash),
    admin = coalesce(u.value->>'admin', users.admin),
    deactivated = coalesce(u.value->>'deactivated', users.deactivated)
FROM json_each($1) AS u
WHERE users.user_id = u.value->>'user_id'",
        "
DELETE FROM interactive_auth_sessions WHERE requester IN (
    SELECT value->>'user_id' FROM json_each($1)
    WHERE value->>'password_hash' IS NOT NULL OR value->>'deactivated' = 1)",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id])?;
        check::texts(&self.password_hash)
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
