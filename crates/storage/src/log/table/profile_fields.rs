//! Fields of users' profiles.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// A field of a user's profile that is set.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileFieldRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The name of the field, such as `displayname`.
    pub field: String,
    /// Its value, as JSON.
    pub value: String,
}

impl TableRow for ProfileFieldRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO profile_fields (user_id, field, value)
SELECT p.value->>'user_id', p.value->>'field', p.value->>'value' FROM json_each($1) AS p WHERE true
ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value"];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.field])?;
        check::texts([&self.value])
    }

    fn weight(&self) -> usize {
        self.value.len() + 128
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
