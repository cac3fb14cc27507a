//! Changes to existing events: outliers that get a place, and what becomes known about events
//! later.

use serde::Serialize;
use stoa_base::{EventNid, StateNid};

use super::{EventStatus, Fit, RelPos, TableRow, merge};

/// A change to an existing event. Fields that are `None` stay as they are.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventUpdateRow {
    /// The event's internal number.
    pub nid: EventNid,
    /// The position at which an outlier enters the live timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<RelPos>,
    /// The live event before which backfill puts an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_pos: Option<i64>,
    /// See [`EventRow::ord_depth`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_depth: Option<i64>,
    /// See [`EventRow::ord_seq`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_seq: Option<i64>,
    /// Whether it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<EventStatus>,
    /// The state before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<StateNid>,
    /// The state after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<StateNid>,
    /// 1 if the state is known only in part, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<i64>,
}

impl TableRow for EventUpdateRow {
    const SQLITE: &'static [&'static str] = &["
UPDATE events SET
    pos = coalesce($2 + (u.value->>'pos'), events.pos),
    ord_pos = coalesce($2 + (u.value->>'pos'), u.value->>'ord_pos', events.ord_pos),
    ord_depth = coalesce(u.value->>'ord_depth', events.ord_depth),
    ord_seq = coalesce(u.value->>'ord_seq', events.ord_seq),
    status = coalesce(u.value->>'status', events.status),
    state_before = coalesce(u.value->>'state_before', events.state_before),
    state_after = coalesce(u.value->>'state_after', events.state_after),
    partial = coalesce(u.value->>'partial', events.partial)
FROM json_each($1) AS u
WHERE events.nid = u.value->>'nid'"];

    fn check(&self) -> Fit {
        Ok(())
    }

    fn shift(&mut self, by: i64) {
        if let Some(pos) = &mut self.pos {
            pos.0 += by;
        }
    }

    fn merge(rows: Vec<Self>) -> Vec<Self> {
        merge::merged(rows, |row| row.nid, merge_event_update)
    }
}

fn merge_event_update(earlier: &mut EventUpdateRow, later: EventUpdateRow) {
    let EventUpdateRow {
        nid: _,
        pos,
        ord_pos,
        ord_depth,
        ord_seq,
        status,
        state_before,
        state_after,
        partial,
    } = later;
    earlier.pos = pos.or(earlier.pos);
    earlier.ord_pos = ord_pos.or(earlier.ord_pos);
    earlier.ord_depth = ord_depth.or(earlier.ord_depth);
    earlier.ord_seq = ord_seq.or(earlier.ord_seq);
    earlier.status = status.or(earlier.status);
    earlier.state_before = state_before.or(earlier.state_before);
    earlier.state_after = state_after.or(earlier.state_after);
    earlier.partial = partial.or(earlier.partial);
}
