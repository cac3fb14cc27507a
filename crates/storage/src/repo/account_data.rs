//! Users' account data, global and per room. It is written through the log and never pruned, since
//! there is one row for each type.

use ruma::UserId;
use stoa_base::{Pos, RoomNid};

use crate::{Bind, Conn, FromRow, Result, Row};

/// The room number of global account data.
pub const GLOBAL: RoomNid = RoomNid(0);

/// A piece of account data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccountData {
    /// The room; `None` for global account data.
    pub room: Option<RoomNid>,
    /// The type of the account data.
    pub kind: String,
    /// Its content, a JSON object.
    pub content: String,
    /// The position at which it was set.
    pub pos: Pos,
}

impl FromRow for StoredAccountData {
    fn from_row(row: &Row) -> Result<Self> {
        let room = RoomNid(row.get(0)?);
        Ok(Self {
            room: (room != GLOBAL).then_some(room),
            kind: row.get(1)?,
            content: row.get(2)?,
            pos: Pos(row.get(3)?),
        })
    }
}

/// All account data of a user.
pub async fn all(conn: &mut Conn, user_id: &UserId) -> Result<Vec<StoredAccountData>> {
    conn.all(
        "SELECT room_nid, type, content, pos FROM account_data WHERE user_id = $1 ORDER BY pos",
        &[user_id.as_str().into()],
    )
    .await
}

/// A user's account data for these rooms.
pub async fn of_rooms(
    conn: &mut Conn,
    user_id: &UserId,
    rooms: &[RoomNid],
) -> Result<Vec<StoredAccountData>> {
    conn.all(
        "SELECT room_nid, type, content, pos FROM account_data
         WHERE user_id = $1 AND room_nid IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
         ORDER BY pos",
        &[user_id.as_str().into(), Bind::list(rooms)],
    )
    .await
}

/// The size in bytes of a user's account data for these rooms, with [`ROW_BYTES`] for each type.
pub async fn bytes_of_rooms(conn: &mut Conn, user_id: &UserId, rooms: &[RoomNid]) -> Result<i64> {
    let (bytes,) = conn
        .one(
            "SELECT CAST(COALESCE(SUM(octet_length(content) + $3), 0) AS BIGINT) FROM account_data
             WHERE user_id = $1 AND room_nid IN (SELECT CAST(value AS BIGINT) FROM json_each($2))",
            &[user_id.as_str().into(), Bind::list(rooms), ROW_BYTES.into()],
        )
        .await?;
    Ok(bytes)
}

/// A user's account data that was set after `after` and not after `up_to`.
pub async fn changed(
    conn: &mut Conn,
    user_id: &UserId,
    after: Pos,
    up_to: Pos,
) -> Result<Vec<StoredAccountData>> {
    conn.all(
        "SELECT room_nid, type, content, pos FROM account_data
         WHERE user_id = $1 AND pos > $2 AND pos <= $3 ORDER BY pos",
        &[user_id.as_str().into(), after.0.into(), up_to.0.into()],
    )
    .await
}

/// The size in bytes of what [`changed`] returns, with [`ROW_BYTES`] for each type.
pub async fn bytes_changed(
    conn: &mut Conn,
    user_id: &UserId,
    after: Pos,
    up_to: Pos,
) -> Result<i64> {
    let (bytes,) = conn
        .one(
            "SELECT CAST(COALESCE(SUM(octet_length(content) + $4), 0) AS BIGINT) FROM account_data
             WHERE user_id = $1 AND pos > $2 AND pos <= $3",
            &[user_id.as_str().into(), after.0.into(), up_to.0.into(), ROW_BYTES.into()],
        )
        .await?;
    Ok(bytes)
}

/// One piece of account data.
pub async fn find(
    conn: &mut Conn,
    user_id: &UserId,
    room: Option<RoomNid>,
    kind: &str,
) -> Result<Option<StoredAccountData>> {
    conn.optional(
        "SELECT room_nid, type, content, pos FROM account_data
         WHERE user_id = $1 AND room_nid = $2 AND type = $3",
        &[user_id.as_str().into(), room.unwrap_or(GLOBAL).0.into(), kind.into()],
    )
    .await
}

/// The bytes that a row counts for in addition to its content.
pub const ROW_BYTES: i64 = 128;

/// How much account data a user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The number of types for the room, or of global ones.
    pub types: i64,
    /// The size of all of it in bytes, with [`ROW_BYTES`] for each type.
    pub bytes: i64,
}

impl FromRow for Usage {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { types: row.get(0)?, bytes: row.get(1)? })
    }
}

/// How much account data a user has. Types are counted for `room`, or for global account data if it
/// is `None`.
pub async fn usage(conn: &mut Conn, user_id: &UserId, room: Option<RoomNid>) -> Result<Usage> {
    conn.one(
        "SELECT COUNT(CASE WHEN room_nid = $2 THEN 1 END),
             CAST(COALESCE(SUM(octet_length(content) + $3), 0) AS BIGINT)
         FROM account_data WHERE user_id = $1",
        &[user_id.as_str().into(), room.unwrap_or(GLOBAL).0.into(), ROW_BYTES.into()],
    )
    .await
}
