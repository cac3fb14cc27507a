//! Read receipts. They are written through the log and never pruned: there is one row for each
//! type, user and thread of a room, which a newer receipt overwrites.

use ruma::UserId;
use stoa_base::{Pos, RoomNid};

use crate::{Bind, Conn, FromRow, Result, Row};

/// A receipt as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// The room's internal number.
    pub room: RoomNid,
    /// `m.read` or `m.read.private`.
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
    pub pos: Pos,
}

impl FromRow for StoredReceipt {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            room: RoomNid(row.get(0)?),
            kind: row.get(1)?,
            user_id: row.get(2)?,
            thread: row.get(3)?,
            event_id: row.get(4)?,
            ts: row.get(5)?,
            pos: Pos(row.get(6)?),
        })
    }
}

/// One receipt.
pub async fn find(
    conn: &mut Conn,
    room: RoomNid,
    kind: &str,
    user_id: &UserId,
    thread: &str,
) -> Result<Option<StoredReceipt>> {
    conn.optional(
        "SELECT room_nid, type, user_id, thread, event_id, ts, pos FROM receipts
         WHERE room_nid = $1 AND type = $2 AND user_id = $3 AND thread = $4",
        &[room.0.into(), kind.into(), user_id.as_str().into(), thread.into()],
    )
    .await
}

/// The receipts of these rooms that were set after `after` and not after `up_to`, and that `reader`
/// may see: all public ones and their own private ones. By room and then by age, at most `limit`.
pub async fn changed(
    conn: &mut Conn,
    reader: &UserId,
    rooms: &[RoomNid],
    after: Pos,
    up_to: Pos,
    limit: i64,
) -> Result<Vec<StoredReceipt>> {
    conn.all(
        // Ordered by a sum, which no index contains. Otherwise PostgreSQL goes through all receipts
        // in the order of the index until it has enough.
        "SELECT room_nid, type, user_id, thread, event_id, ts, pos FROM receipts
         WHERE room_nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
             AND pos > $2 AND pos <= $3 AND (type <> 'm.read.private' OR user_id = $4)
         ORDER BY room_nid + 0, pos LIMIT $5",
        &[Bind::list(rooms), after.0.into(), up_to.0.into(), reader.as_str().into(), limit.into()],
    )
    .await
}

/// The newest receipts of each of these rooms that were not set after `up_to` and that `reader` may
/// see, at most `limit` per room. By room and then by age, at most `in_all`.
///
/// It reads no more of a room than it returns, no matter how many receipts there are.
pub async fn newest(
    conn: &mut Conn,
    reader: &UserId,
    rooms: &[RoomNid],
    up_to: Pos,
    limit: i64,
    in_all: i64,
) -> Result<Vec<StoredReceipt>> {
    conn.all(
        // CROSS JOIN makes SQLite take the rooms first instead of reading all receipts. Ordered by
        // a sum for the reason above.
        "SELECT room_nid, type, user_id, thread, event_id, ts, pos
         FROM (
             SELECT CAST(value AS BIGINT) AS room, (
                 SELECT pos FROM receipts
                 WHERE room_nid = CAST(value AS BIGINT) AND pos <= $2
                     AND (type <> 'm.read.private' OR user_id = $3)
                 ORDER BY pos DESC LIMIT 1 OFFSET $4
             ) AS older
             FROM json_each($1)
         ) wanted CROSS JOIN receipts
         WHERE room_nid = room AND pos > COALESCE(older, -1) AND pos <= $2
             AND (type <> 'm.read.private' OR user_id = $3)
         ORDER BY room_nid + 0, pos LIMIT $5",
        &[Bind::list(rooms), up_to.0.into(), reader.as_str().into(), limit.into(), in_all.into()],
    )
    .await
}

/// The receipts that a user has set in these rooms, not after `up_to`, in no order, at most `limit`.
pub async fn of_user(
    conn: &mut Conn,
    user_id: &UserId,
    rooms: &[RoomNid],
    up_to: Pos,
    limit: i64,
) -> Result<Vec<StoredReceipt>> {
    conn.all(
        // The plus keeps SQLite from going through all receipts by position.
        "SELECT room_nid, type, user_id, thread, event_id, ts, pos FROM receipts
         WHERE room_nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
             AND type IN ('m.read', 'm.read.private') AND user_id = $2 AND +pos <= $3
         LIMIT $4",
        &[Bind::list(rooms), user_id.as_str().into(), up_to.0.into(), limit.into()],
    )
    .await
}
