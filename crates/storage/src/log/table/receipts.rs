//! Read receipts.

use serde::Serialize;
use stoa_base::RoomNid;

use super::{Fit, RelPos, TableRow, check, merge};

/// A read receipt, public or private, or the public part of a fully-read marker.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptRow {
    /// The room's internal number.
    pub room_nid: RoomNid,
    /// `m.read` or `m.read.private`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The user who has read.
    pub user_id: String,
    /// The thread: `main`, an event ID, or empty for an unthreaded receipt.
    pub thread: String,
    /// The event up to which they have read.
    pub event_id: String,
    /// When, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// The position at which the receipt was set.
    pub pos: RelPos,
}

impl TableRow for ReceiptRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO receipts (room_nid, type, user_id, thread, event_id, ts, pos)
SELECT value->>'room_nid', value->>'type', value->>'user_id', value->>'thread', value->>'event_id',
    value->>'ts', $2 + (value->>'pos')
FROM json_each($1) WHERE true
ON CONFLICT (room_nid, type, user_id, thread)
DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, pos = excluded.pos
WHERE coalesce((
    SELECT (n.ord_pos, n.ord_depth, n.ord_seq) > (o.ord_pos, o.ord_depth, o.ord_seq)
    FROM events n, events o
    WHERE n.event_id = excluded.event_id AND o.event_id = receipts.event_id), true)"];

    fn check(&self) -> Fit {
        check::identifiers([&self.kind, &self.user_id, &self.thread, &self.event_id])
    }

    fn shift(&mut self, by: i64) {
        self.pos.0 += by;
    }

    fn merge(rows: Vec<Self>) -> Vec<Self> {
        merge::last_of_each(rows, |row| {
            (row.room_nid, row.kind.clone(), row.user_id.clone(), row.thread.clone())
        })
    }
}
