//! Access tokens that are replaced by their successors.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// An access token to delete because its successor, which was refreshed from it, has been used for
/// the first time. Its refresh token is remembered as spent, and all other tokens refreshed from it
/// are deleted.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRemovalRow {
    /// The Matrix ID of the session's user.
    pub user_id: String,
    /// The token's hash.
    pub token_hash: String,
    /// The token that replaces it. If that one no longer exists, nothing is deleted.
    pub successor: String,
}

impl TableRow for TokenRemovalRow {
    const SQLITE: &'static [&'static str] = &[
        "
UPDATE access_tokens SET parent_hash = NULL
WHERE token_hash IN (SELECT value->>'successor' FROM json_each($1))",
        "
INSERT INTO spent_refresh_tokens (session_id, generation, refresh_hash)
SELECT t.session_id, t.generation, t.refresh_hash
FROM json_each($1) AS d JOIN access_tokens t ON t.token_hash = d.value->>'token_hash'
WHERE t.refresh_hash IS NOT NULL
    AND EXISTS (SELECT 1 FROM access_tokens s WHERE s.token_hash = d.value->>'successor')
ON CONFLICT DO NOTHING",
        // Only the last thousand spent tokens of a session are kept.
        "
DELETE FROM spent_refresh_tokens WHERE (session_id, generation) IN (
    SELECT o.session_id, o.generation FROM json_each($1) AS d
    JOIN access_tokens s ON s.token_hash = d.value->>'successor'
    JOIN spent_refresh_tokens o
    ON o.session_id = s.session_id AND o.generation < s.generation - 1000)",
        "
DELETE FROM access_tokens WHERE token_hash IN (
    SELECT value->>'token_hash' FROM json_each($1) AS d
    WHERE EXISTS (SELECT 1 FROM access_tokens s WHERE s.token_hash = d.value->>'successor'))",
        "
DELETE FROM access_tokens WHERE parent_hash IN (
    SELECT value->>'token_hash' FROM json_each($1) AS d
    WHERE NOT EXISTS (SELECT 1 FROM access_tokens p WHERE p.token_hash = d.value->>'token_hash'))",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.token_hash, &self.successor])
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
