//! Results of interactive authentication.

use serde::Serialize;

use super::{Fit, TableRow, check};

/// The outcome of an operation that asked for interactive authentication.
#[derive(Clone, Debug, Serialize)]
pub struct InteractiveResultRow {
    /// The hash of the authentication session's ID.
    pub session_hash: String,
    /// The result, as JSON.
    pub result: String,
}

impl TableRow for InteractiveResultRow {
    const SQLITE: &'static [&'static str] = &["
UPDATE interactive_auth_sessions SET result = r.value->>'result'
FROM json_each($1) AS r
WHERE interactive_auth_sessions.session_hash = r.value->>'session_hash'"];

    fn check(&self) -> Fit {
        check::identifiers([&self.session_hash])?;
        check::texts([&self.result])
    }

    fn weight(&self) -> usize {
        self.result.len() + 128
    }
}
