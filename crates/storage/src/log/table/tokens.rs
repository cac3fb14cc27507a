//! New tokens.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// A new access token with its refresh token. It replaces tokens that were refreshed from the same
/// parent before.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRow {
    /// The access token's hash.
    pub token_hash: String,
    /// The Matrix ID of the session's user.
    #[serde(skip)]
    pub user_id: String,
    /// The ID of the session.
    pub session_id: String,
    /// How often the session was refreshed before this token.
    pub generation: i64,
    /// When it was created, in milliseconds.
    pub created_ms: i64,
    /// When the access token expires, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// The refresh token's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_hash: Option<String>,
    /// The hash of the access token that this one was refreshed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_hash: Option<String>,
}

impl TableRow for TokenRow {
    // A refreshed token replaces those that were refreshed from the same parent before, none of
    // which was ever used.
    const SQLITE: &'static [&'static str] = &[
        "
DELETE FROM access_tokens WHERE parent_hash IN (SELECT value->>'parent_hash' FROM json_each($1))",
        "
INSERT INTO access_tokens (token_hash, session_id, generation, user_id, device_id, created_ms,
    expires_ms, refresh_hash, parent_hash)
SELECT n.value->>'token_hash', s.session_id, n.value->>'generation', s.user_id,
    coalesce(s.device_id, ''), n.value->>'created_ms', n.value->>'expires_ms',
    n.value->>'refresh_hash', n.value->>'parent_hash'
FROM json_each($1) AS n JOIN sessions s ON s.session_id = n.value->>'session_id'",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.session_id, &self.token_hash])?;
        check::identifiers([&self.refresh_hash, &self.parent_hash].into_iter().flatten())
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
