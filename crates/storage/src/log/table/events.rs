//! New events.

use serde::Serialize;
use stoa_base::{EventNid, RoomNid, StateNid};

use super::{Claim, Fit, RelPos, TableRow, check};
use crate::log::stored::stored_as_number;

stored_as_number! {
    /// Whether an event was accepted.
    EventStatus {
        /// It passed the authorization checks and is part of the room.
        Accepted = 0,
        /// It passed the checks by its own auth events, but not by the current state. It is
        /// soft-failed: it counts in state resolution and is shown to nobody.
        SoftFailed = 1,
        /// It failed the checks: it changes no state and is shown to nobody.
        Rejected = 2,
    }
}

/// An event to insert.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// The event's internal number.
    pub nid: EventNid,
    /// Its Matrix ID.
    pub event_id: String,
    /// The room's internal number.
    pub room_nid: RoomNid,
    /// Its position in the live timeline; `None` for an outlier, backfill, or a rejected event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<RelPos>,
    /// For an event without `pos`: the live event before which it stands; `None` for an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_pos: Option<i64>,
    /// Its order among events with the same `ord_pos`: its depth, clamped; `i64::MAX` for a live
    /// event.
    pub ord_depth: i64,
    /// Its order among events with the same depth: the order of arrival.
    pub ord_seq: i64,
    /// The depth that the event claims.
    pub depth: i64,
    /// Who sent it.
    pub sender: String,
    /// The event type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its state key, if it is a state event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// Its `origin_server_ts`, in milliseconds.
    pub origin_ts: i64,
    /// Whether it was accepted.
    pub status: EventStatus,
    /// The room's state before it; `None` for an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<StateNid>,
    /// The room's state after it; `None` for an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<StateNid>,
    /// 1 if the state is known only in part, else 0.
    pub partial: i64,
    /// The state event that it replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<EventNid>,
    /// The user and device that sent it, if it was sent with `txn_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn_device: Option<String>,
    /// The transaction key with which the device can repeat the request and get the same answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn_id: Option<String>,
    /// The event as canonical JSON, with its signatures.
    pub json: String,
}

impl TableRow for EventRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO events (nid, event_id, room_nid, pos, ord_pos, ord_depth, ord_seq, depth, sender, type,
    state_key, origin_ts, status, state_before, state_after, partial, replaces, txn_device, txn_id,
    json)
SELECT value->>'nid', value->>'event_id', value->>'room_nid', $2 + (value->>'pos'),
    coalesce($2 + (value->>'pos'), value->>'ord_pos'), value->>'ord_depth', value->>'ord_seq',
    value->>'depth', value->>'sender', value->>'type', value->>'state_key', value->>'origin_ts',
    value->>'status', value->>'state_before', value->>'state_after', value->>'partial',
    value->>'replaces', value->>'txn_device', value->>'txn_id', value->>'json'
FROM json_each($1)"];
    const TAKEN: Option<&'static str> = Some(
        "
SELECT w.value->>'nid', 'event'
FROM json_each($1) AS w
JOIN events AS e ON e.event_id = w.value->>'event_id'
    OR (e.txn_device = w.value->>'txn_device' AND e.txn_id = w.value->>'txn_id')
UNION
SELECT w.value->>'nid', 'nid'
FROM json_each($1) AS w
JOIN events AS e ON e.nid = w.value->>'nid' AND e.event_id <> w.value->>'event_id'",
    );

    fn check(&self) -> Fit {
        check::identifiers([&self.event_id, &self.sender, &self.kind])?;
        check::identifiers(
            [&self.state_key, &self.txn_device, &self.txn_id].into_iter().flatten(),
        )?;
        check::texts([&self.json])
    }

    fn weight(&self) -> usize {
        self.json.len() + 256
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::EventId(&self.event_id));
        if let (Some(device), Some(txn_id)) = (&self.txn_device, &self.txn_id) {
            claims.push(Claim::Transaction { device, txn_id });
        }
    }

    fn shift(&mut self, by: i64) {
        if let Some(pos) = &mut self.pos {
            pos.0 += by;
        }
    }
}
