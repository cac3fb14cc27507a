//! Redacted events, which lose their content.

use serde::Serialize;
use stoa_base::EventNid;

use super::{Fit, TableRow, check, merge};

/// A redaction: the event's text without the redacted parts.
#[derive(Clone, Debug, Serialize)]
pub struct RedactionRow {
    /// The event that is redacted.
    pub nid: EventNid,
    /// The event that redacts it.
    pub redacted_by: EventNid,
    /// The new text, as canonical JSON.
    pub json: String,
}

impl TableRow for RedactionRow {
    const SQLITE: &'static [&'static str] = &["
UPDATE events SET json = u.value->>'json', redacted_by = u.value->>'redacted_by',
    revision = revision + 1
FROM json_each($1) AS u
WHERE events.nid = u.value->>'nid'"];

    fn check(&self) -> Fit {
        check::texts([&self.json])
    }

    fn weight(&self) -> usize {
        self.json.len() + 64
    }

    fn merge(rows: Vec<Self>) -> Vec<Self> {
        merge::last_of_each(rows, |row| row.nid)
    }
}
