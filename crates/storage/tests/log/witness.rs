//! Appends that leave a trace in every table: each row says which append it came with, so that an
//! append that was lost, half written or written twice is detected.

use std::collections::{BTreeMap, BTreeSet};

use stoa_base::{EventNid, RoomNid, StateNid};
use stoa_storage::{
    Store,
    log::{
        AccountDataRow, Append, AppendError, Appended, EventRow, MembershipRow, ReceiptRow, RelPos,
        RoomUpdateRow, StateChangeRow, StateNodeRow, Stream,
    },
};
use stoa_testing::sample;

/// How many appends one caller can make.
const CALLER: i64 = 100_000;

/// The number of a caller's append, which its rows contain.
pub(crate) fn nid(caller: i64, count: i64) -> i64 {
    assert!(count < CALLER - 1, "the numbers of one caller are used up");
    // The last number before a caller's first one belongs to nobody.
    caller * CALLER + count
}

/// An append of two positions to seven tables, or to five. Those with an even number contain rows
/// that no table accepts twice; the others would be written again without an error if the log
/// allowed it.
pub(crate) fn append(room: RoomNid, nid: i64) -> Append {
    let mut append = Append::new();
    let (first, second) = (append.next_pos(), append.next_pos());
    if has_event(nid) {
        append.events.push(EventRow {
            pos: Some(first),
            ord_depth: i64::MAX,
            txn_device: Some("@alice:test|DEVICE".to_owned()),
            txn_id: Some(nid.to_string()),
            ..sample::event(nid, room)
        });
        append.state_nodes.push(StateNodeRow { nid: StateNid(nid), node: "00ff".to_owned() });
    }
    append.room_updates.push(RoomUpdateRow {
        added: vec![EventNid(nid)],
        consumed: vec![EventNid(nid - 1)],
        head_pos: Some(first),
        joined: 1,
        ..sample::room_update(room)
    });
    add_rows(&mut append, room, nid, second);
    for stream in [Stream::Timeline, Stream::State, Stream::Membership, Stream::Receipts] {
        append.touched.add(stream, room);
    }
    append
}

fn add_rows(append: &mut Append, room: RoomNid, nid: i64, pos: RelPos) {
    let user_id = format!("@{nid}:test");
    append.state_changes.push(StateChangeRow {
        room_nid: room,
        pos,
        kind: "m.room.member".to_owned(),
        state_key: user_id.clone(),
        old_nid: None,
        new_nid: Some(EventNid(nid)),
    });
    append.memberships.push(MembershipRow {
        user_id: user_id.clone(),
        room_nid: room,
        membership: "join".to_owned(),
        event_nid: EventNid(nid),
        sender: user_id.clone(),
        pos,
    });
    append.account_data.push(AccountDataRow {
        user_id: user_id.clone(),
        room_nid: room,
        kind: "m.tag".to_owned(),
        content: nid.to_string(),
        pos,
    });
    append.receipts.push(ReceiptRow {
        room_nid: room,
        kind: "m.read".to_owned(),
        user_id,
        thread: String::new(),
        event_id: nid.to_string(),
        ts: 1_700_000_000_000,
        pos,
    });
}

fn has_event(nid: i64) -> bool {
    nid % 2 == 0
}

/// The position before an append's first one, as stored in the log.
pub(crate) fn base(appended: Appended) -> i64 {
    appended.pos(Append::new().next_pos()).0 - 1
}

/// What callers were told of their appends.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The places of acknowledged appends.
    pub(crate) written: BTreeMap<i64, i64>,
    /// Appends that were certainly not written.
    pub(crate) not_written: BTreeSet<i64>,
    /// Appends that may or may not have been written.
    pub(crate) unknown: BTreeSet<i64>,
}

impl Told {
    pub(crate) fn add(&mut self, nid: i64, answer: &Result<Appended, AppendError>) {
        match answer {
            Ok(appended) => _ = self.written.insert(nid, base(*appended)),
            Err(AppendError::Unavailable) => _ = self.unknown.insert(nid),
            Err(_) => _ = self.not_written.insert(nid),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.written.extend(other.written);
        self.not_written.extend(other.not_written);
        self.unknown.extend(other.unknown);
    }

    /// Compares what was told with the contents of a room. Appends that nobody was told about are
    /// left out.
    pub(crate) fn check(&self, found: &BTreeMap<i64, i64>) {
        for (nid, base) in &self.written {
            assert_eq!(found.get(nid), Some(base), "append {nid} was acknowledged");
        }
        for nid in &self.not_written {
            assert_eq!(found.get(nid), None, "append {nid} was said not to be written");
        }
    }
}

/// The appends in a room, each with its base. Asserts that all are complete and written once.
pub(crate) async fn find(store: &Store, room: RoomNid) -> BTreeMap<i64, i64> {
    let mut conn = store.snapshot().await.unwrap();
    let room = [room.0.into()];
    let changes: Vec<(i64, i64)> = conn
        .all("SELECT new_nid, pos - 2 FROM state_changes WHERE room_nid = $1 ORDER BY pos", &room)
        .await
        .unwrap();
    let found: BTreeMap<i64, i64> = changes.iter().copied().collect();
    assert_eq!(found.len(), changes.len(), "an append was written twice");

    let others = [
        "SELECT event_nid, pos - 2 FROM memberships WHERE room_nid = $1",
        "SELECT CAST(content AS BIGINT), pos - 2 FROM account_data WHERE room_nid = $1",
        "SELECT CAST(event_id AS BIGINT), pos - 2 FROM receipts WHERE room_nid = $1",
    ];
    for sql in others {
        let rows: Vec<(i64, i64)> = conn.all(sql, &room).await.unwrap();
        assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), found, "{sql}");
    }
    let expected: Vec<(i64, i64)> =
        found.iter().map(|(nid, base)| (*nid, *base)).filter(|row| has_event(row.0)).collect();
    let events: Vec<(i64, i64)> = conn
        .all(
            "SELECT e.nid, e.pos - 1 FROM events e JOIN state_nodes s ON s.nid = e.nid
             WHERE e.room_nid = $1 ORDER BY e.nid",
            &room,
        )
        .await
        .unwrap();
    assert_eq!(events, expected, "events with the nodes of their states");

    let row: Option<(i64, String)> =
        conn.optional("SELECT joined, extremities FROM rooms WHERE nid = $1", &room).await.unwrap();
    let Some((joined, extremities)) = row else {
        assert!(found.is_empty(), "appends without their room");
        return found;
    };
    assert_eq!(usize::try_from(joined).unwrap(), found.len(), "each append counts once");
    let mut ends = BTreeSet::new();
    for (nid, _) in &changes {
        ends.remove(&(nid - 1));
        ends.insert(*nid);
    }
    let ends: Vec<String> = ends.iter().map(i64::to_string).collect();
    let mut extremities: Vec<&str> =
        extremities.trim_matches(['[', ']']).split([',', ' ']).collect();
    extremities.retain(|nid| !nid.is_empty());
    assert_eq!(extremities, ends, "the ends of the room");
    found
}

/// Checks that the log has no gap, and that each of its positions, except those it jumped over, was
/// taken by one of `appends` witnesses or was the single position of another append.
pub(crate) async fn check_log(store: &Store, appends: usize, others: usize) {
    let mut conn = store.snapshot().await.unwrap();
    let batches: Vec<(i64, i64, i64)> = conn
        .all("SELECT prev_pos, last_pos, incarnation FROM log_batches ORDER BY last_pos", &[])
        .await
        .unwrap();
    let (mut head, mut taken) = (0, 0);
    for (prev, last, incarnation) in batches {
        assert_eq!(prev, head, "batches follow one another");
        assert!(last > prev);
        taken += if incarnation == 0 { 0 } else { last - prev };
        head = last;
    }
    assert_eq!(usize::try_from(taken).unwrap(), 2 * appends + others, "every position is taken");
}
