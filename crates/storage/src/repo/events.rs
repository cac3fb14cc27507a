//! Events and their order in a room.

use stoa_base::{EventNid, Pos, RoomNid, StateNid};

use crate::{Bind, Conn, Error, FromRow, Result, Row, log::EventStatus, repo::rooms::RoomHeadRow};

/// A place in a room's one order, which `/sync`, `/messages` and `/context` share.
///
/// An event with a position stands at that position. An event without one (backfill) stands
/// immediately before the live event that it was fetched for, and among others there by depth and
/// then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// The position at or before which the event stands.
    pub pos: i64,
    /// The depth, clamped; `i64::MAX` for a live event.
    pub depth: i64,
    /// The order of arrival.
    pub seq: i64,
}

impl Order {
    /// Immediately after everything up to position `pos`.
    pub const fn after(pos: Pos) -> Self {
        Self { pos: pos.0, depth: i64::MAX, seq: i64::MAX }
    }

    /// Before everything.
    pub const START: Self = Self { pos: i64::MIN, depth: i64::MIN, seq: i64::MIN };
    /// After everything.
    pub const END: Self = Self { pos: i64::MAX, depth: i64::MAX, seq: i64::MAX };
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEventRow {
    /// Its internal number.
    pub nid: EventNid,
    /// Its Matrix ID.
    pub event_id: String,
    /// The room's internal number.
    pub room: RoomNid,
    /// The position at which it entered the live timeline.
    pub pos: Option<Pos>,
    /// Its place in the room's order; `None` for an outlier.
    pub order: Option<Order>,
    /// Whether it was accepted.
    pub status: EventStatus,
    /// The room's state before it; `None` for an outlier.
    pub state_before: Option<StateNid>,
    /// The room's state after it; `None` for an outlier.
    pub state_after: Option<StateNid>,
    /// The state event that it replaced.
    pub replaces: Option<EventNid>,
    /// The user and device that sent it, if it was sent with a transaction ID.
    pub txn_device: Option<String>,
    /// The key of the transaction.
    pub txn_id: Option<String>,
    /// The event that redacted it.
    pub redacted_by: Option<EventNid>,
    /// The event as canonical JSON.
    pub json: String,
}

impl FromRow for StoredEventRow {
    fn from_row(row: &Row) -> Result<Self> {
        let ord_pos: Option<i64> = row.get(4)?;
        let order = match ord_pos {
            Some(pos) => Some(Order { pos, depth: row.get(5)?, seq: row.get(6)? }),
            None => None,
        };
        let status: i64 = row.get(7)?;
        Ok(Self {
            nid: EventNid(row.get(0)?),
            event_id: row.get(1)?,
            room: RoomNid(row.get(2)?),
            pos: row.get::<Option<i64>>(3)?.map(Pos),
            order,
            status: EventStatus::from_number(status)
                .ok_or_else(|| Error::corrupt(format_args!("event status {status}")))?,
            state_before: row.get::<Option<i64>>(8)?.map(StateNid),
            state_after: row.get::<Option<i64>>(9)?.map(StateNid),
            replaces: row.get::<Option<i64>>(10)?.map(EventNid),
            txn_device: row.get(11)?,
            txn_id: row.get(12)?,
            redacted_by: row.get::<Option<i64>>(13)?.map(EventNid),
            json: row.get(14)?,
        })
    }
}

macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT nid, event_id, room_nid, pos, ord_pos, ord_depth, ord_seq, status, \
             state_before, state_after, replaces, txn_device, txn_id, redacted_by, json \
             FROM events ",
            $rest
        )
    };
}

/// The events with these numbers, in no order.
pub async fn by_nids(
    conn: &mut Conn,
    nids: impl IntoIterator<Item = EventNid>,
) -> Result<Vec<StoredEventRow>> {
    conn.all(
        select_events!("WHERE nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))"),
        &[Bind::list(nids)],
    )
    .await
}

/// The events with these Matrix IDs, in no order.
pub async fn by_ids<'a>(
    conn: &mut Conn,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<StoredEventRow>> {
    conn.all(
        select_events!("WHERE event_id IN (SELECT value FROM json_each($1))"),
        &[Bind::list(ids)],
    )
    .await
}

/// The event that this device sent with this transaction ID.
pub async fn by_transaction(
    conn: &mut Conn,
    device: &str,
    txn_id: &str,
) -> Result<Option<StoredEventRow>> {
    conn.optional(
        select_events!("WHERE txn_device = $1 AND txn_id = $2"),
        &[device.into(), txn_id.into()],
    )
    .await
}

/// The numbers of the accepted events of a room after `after` and up to `up_to`, oldest first, at
/// most `limit`. Only numbers, because most of the events are already in memory.
pub async fn forward(
    conn: &mut Conn,
    room: RoomNid,
    after: Order,
    up_to: Order,
    limit: i64,
) -> Result<Vec<EventNid>> {
    let sql =
        "SELECT string_agg(CAST(nid AS TEXT), ',' ORDER BY ord_pos, ord_depth, ord_seq) FROM (
             SELECT nid, ord_pos, ord_depth, ord_seq FROM events
             WHERE room_nid = $1 AND status = 0 AND ord_pos IS NOT NULL
                 AND ord_pos >= $2 AND (ord_pos, ord_depth, ord_seq) > ($2, $3, $4)
                 AND ord_pos <= $5 AND (ord_pos, ord_depth, ord_seq) <= ($5, $6, $7)
             ORDER BY ord_pos, ord_depth, ord_seq LIMIT $8
         ) page";
    page(conn, sql, room, [after, up_to], limit).await
}

/// The numbers of the accepted events of a room up to `from` and after `after`, newest first, at
/// most `limit`.
pub async fn backward(
    conn: &mut Conn,
    room: RoomNid,
    from: Order,
    after: Order,
    limit: i64,
) -> Result<Vec<EventNid>> {
    let sql = "SELECT string_agg(
             CAST(nid AS TEXT), ',' ORDER BY ord_pos DESC, ord_depth DESC, ord_seq DESC
         ) FROM (
             SELECT nid, ord_pos, ord_depth, ord_seq FROM events
             WHERE room_nid = $1 AND status = 0 AND ord_pos IS NOT NULL
                 AND ord_pos <= $2 AND (ord_pos, ord_depth, ord_seq) <= ($2, $3, $4)
                 AND ord_pos >= $5 AND (ord_pos, ord_depth, ord_seq) > ($5, $6, $7)
             ORDER BY ord_pos DESC, ord_depth DESC, ord_seq DESC LIMIT $8
         ) page";
    page(conn, sql, room, [from, after], limit).await
}

/// Reads a page as one row, which is much cheaper than one row per event.
async fn page(
    conn: &mut Conn,
    sql: &'static str,
    room: RoomNid,
    [first, last]: [Order; 2],
    limit: i64,
) -> Result<Vec<EventNid>> {
    let binds = [
        room.0.into(),
        first.pos.into(),
        first.depth.into(),
        first.seq.into(),
        last.pos.into(),
        last.depth.into(),
        last.seq.into(),
        limit.into(),
    ];
    let (nids,): (Option<String>,) = conn.one(sql, &binds).await?;
    numbers(nids.as_deref())
}

/// The newest accepted events of each of these rooms after `after` and up to `up_to`, at most
/// `limit` per room, newest first. Rooms without any are left out.
pub async fn newest_nids(
    conn: &mut Conn,
    rooms: impl IntoIterator<Item = RoomNid>,
    after: Order,
    up_to: Pos,
    limit: i64,
) -> Result<Vec<(RoomNid, Vec<EventNid>)>> {
    let up_to = Order::after(up_to);
    let rows: Vec<(i64, Option<String>)> = conn
        .all(
            "SELECT CAST(wanted.value AS BIGINT), (
                 SELECT string_agg(
                     CAST(newest.nid AS TEXT), ','
                     ORDER BY newest.ord_pos DESC, newest.ord_depth DESC, newest.ord_seq DESC
                 ) FROM (
                     SELECT nid, ord_pos, ord_depth, ord_seq FROM events
                     WHERE room_nid = CAST(wanted.value AS BIGINT)
                       AND status = 0 AND ord_pos IS NOT NULL AND ord_pos <= $2
                       AND ord_pos >= $4 AND (ord_pos, ord_depth, ord_seq) > ($4, $5, $6)
                     ORDER BY ord_pos DESC, ord_depth DESC, ord_seq DESC LIMIT $3
                 ) newest
             ) FROM json_each($1) wanted",
            &[
                Bind::list(rooms),
                up_to.pos.into(),
                limit.into(),
                after.pos.into(),
                after.depth.into(),
                after.seq.into(),
            ],
        )
        .await?;
    rows.into_iter()
        .filter(|(_, nids)| nids.is_some())
        .map(|(room, nids)| Ok((RoomNid(room), numbers(nids.as_deref())?)))
        .collect()
}

/// Parses numbers that were read as one text.
fn numbers(nids: Option<&str>) -> Result<Vec<EventNid>> {
    let nids = nids.into_iter().flat_map(|nids| nids.split(','));
    nids.map(|nid| nid.parse().map(EventNid).map_err(Error::corrupt)).collect()
}

/// An event that entered its room's timeline, with the room as it was when the event was read.
#[derive(Clone, Debug)]
pub struct EventInRoom {
    /// The event. Its text is empty if it was left out.
    pub event: StoredEventRow,
    /// The room's row.
    pub room: RoomHeadRow,
    /// The head of the log at which both were read.
    pub as_of: Pos,
}

impl FromRow for EventInRoom {
    fn from_row(row: &Row) -> Result<Self> {
        let event = StoredEventRow::from_row(row)?;
        let extremities: String = row.get(17)?;
        Ok(Self {
            room: RoomHeadRow {
                nid: event.room,
                room_id: row.get(15)?,
                version: row.get(16)?,
                extremities: serde_json::from_str(&extremities).map_err(Error::corrupt)?,
                state_root: StateNid(row.get(18)?),
                state_pos: Pos(row.get(19)?),
                head_pos: Pos(row.get(20)?),
                joined: row.get(21)?,
                invited: row.get(22)?,
            },
            as_of: Pos(row.get(23)?),
            event,
        })
    }
}

/// The events that entered any room's timeline after `after` and up to `up_to`, in order, at most
/// `limit`. Texts beyond the first `bytes` bytes are left out.
pub async fn entered(
    conn: &mut Conn,
    after: Pos,
    up_to: Pos,
    limit: i64,
    bytes: i64,
) -> Result<Vec<EventInRoom>> {
    conn.all(
        "SELECT e.nid, e.event_id, e.room_nid, e.pos, e.ord_pos, e.ord_depth, e.ord_seq, e.status,
             e.state_before, e.state_after, e.replaces, e.txn_device, e.txn_id, e.redacted_by,
             CASE WHEN e.bytes <= $4 THEN e.json ELSE '' END,
             r.room_id, r.version, r.extremities, r.state_root, r.state_pos, r.head_pos,
             r.joined, r.invited, (SELECT COALESCE(MAX(last_pos), 0) FROM log_batches)
         FROM (
             SELECT *, SUM(octet_length(json)) OVER (ORDER BY pos) AS bytes FROM events
             WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3
         ) e LEFT JOIN rooms r ON r.nid = e.room_nid ORDER BY e.pos",
        &[after.0.into(), up_to.0.into(), limit.into(), bytes.into()],
    )
    .await
}

/// The events that name `event_id`, which this server does not have, as a previous event.
pub async fn waiting_for(conn: &mut Conn, event_id: &str) -> Result<Vec<EventNid>> {
    let rows: Vec<(i64,)> = conn
        .all(
            "SELECT event_nid FROM missing_prev_events WHERE prev_event_id = $1",
            &[event_id.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|(nid,)| EventNid(nid)).collect())
}
