//! New rooms.

use serde::Serialize;
use stoa_base::RoomNid;

use super::{Claim, Fit, TableRow, check};

/// A room to create.
#[derive(Clone, Debug, Serialize)]
pub struct RoomRow {
    /// The room's internal number.
    pub nid: RoomNid,
    /// Its Matrix ID.
    pub room_id: String,
    /// Its room version.
    pub version: String,
    /// When this server created or first saw it, in milliseconds.
    pub created_ms: i64,
}

impl TableRow for RoomRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO rooms (nid, room_id, version, created_ms, extremities, state_root, state_pos, head_pos,
    joined, invited)
SELECT value->>'nid', value->>'room_id', value->>'version', value->>'created_ms', '[]', 0, 0, 0, 0, 0
FROM json_each($1)"];
    const TAKEN: Option<&'static str> = Some(
        "
SELECT w.value->>'nid', CASE WHEN r.room_id = w.value->>'room_id' THEN 'room' ELSE 'nid' END
FROM json_each($1) AS w
JOIN rooms AS r ON r.room_id = w.value->>'room_id' OR r.nid = w.value->>'nid'",
    );

    fn check(&self) -> Fit {
        check::identifiers([&self.room_id, &self.version])
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::RoomId(&self.room_id));
    }
}
