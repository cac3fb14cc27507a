//! Previous events that this server does not have.

use serde::Serialize;
use stoa_base::EventNid;

use super::{Fit, TableRow, check};

/// A previous event that an event names, and that this server does not have.
#[derive(Clone, Debug, Serialize)]
pub struct MissingPrevEventRow {
    /// The Matrix ID of the missing event.
    pub prev_event_id: String,
    /// The event that names it.
    pub event_nid: EventNid,
}

impl TableRow for MissingPrevEventRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO missing_prev_events (prev_event_id, event_nid)
SELECT value->>'prev_event_id', value->>'event_nid' FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING"];

    fn check(&self) -> Fit {
        check::identifiers([&self.prev_event_id])
    }
}
