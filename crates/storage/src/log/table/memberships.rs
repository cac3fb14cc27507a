//! Users' current memberships.

use serde::Serialize;
use stoa_base::{EventNid, RoomNid};

use super::{Fit, RelPos, TableRow, check, merge};

/// A user's current membership of a room.
#[derive(Clone, Debug, Serialize)]
pub struct MembershipRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The room's internal number.
    pub room_nid: RoomNid,
    /// `join`, `invite`, `leave`, `ban` or `knock`.
    pub membership: String,
    /// The internal number of the member event.
    pub event_nid: EventNid,
    /// Who sent the member event.
    pub sender: String,
    /// The position at which it became current.
    pub pos: RelPos,
}

impl TableRow for MembershipRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
SELECT value->>'user_id', value->>'room_nid', value->>'membership', value->>'event_nid',
    value->>'sender', $2 + (value->>'pos')
FROM json_each($1) WHERE true
ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership,
    event_nid = excluded.event_nid, sender = excluded.sender, pos = excluded.pos, forgotten = 0"];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.membership, &self.sender])
    }

    fn shift(&mut self, by: i64) {
        self.pos.0 += by;
    }

    fn merge(rows: Vec<Self>) -> Vec<Self> {
        merge::last_of_each(rows, |row| (row.user_id.clone(), row.room_nid))
    }
}
