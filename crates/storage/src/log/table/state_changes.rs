//! Changes of rooms' current state.

use serde::Serialize;
use stoa_base::{EventNid, RoomNid};

use super::{Fit, RelPos, TableRow, check};

/// A change of a room's current state, whether or not a single event caused it.
#[derive(Clone, Debug, Serialize)]
pub struct StateChangeRow {
    /// The room's internal number.
    pub room_nid: RoomNid,
    /// The position of the change.
    pub pos: RelPos,
    /// The event type of the entry.
    #[serde(rename = "type")]
    pub kind: String,
    /// The state key of the entry.
    pub state_key: String,
    /// The event that was in the state before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_nid: Option<EventNid>,
    /// The event that is in the state now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_nid: Option<EventNid>,
}

impl TableRow for StateChangeRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO state_changes (room_nid, pos, type, state_key, old_nid, new_nid)
SELECT value->>'room_nid', $2 + (value->>'pos'), value->>'type', value->>'state_key',
    value->>'old_nid', value->>'new_nid'
FROM json_each($1)"];

    fn check(&self) -> Fit {
        check::identifiers([&self.kind, &self.state_key])
    }

    fn shift(&mut self, by: i64) {
        self.pos.0 += by;
    }
}
