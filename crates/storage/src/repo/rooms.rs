//! Rooms' own rows.

use stoa_base::{EventNid, Pos, RoomNid, StateNid};

use crate::{Bind, Conn, Error, FromRow, Result, Row};

/// A room's own row: the current end of its event graph, and its current state.
#[derive(Clone, Debug)]
pub struct RoomHeadRow {
    /// The room's internal number.
    pub nid: RoomNid,
    /// Its Matrix ID.
    pub room_id: String,
    /// Its room version.
    pub version: String,
    /// The forward extremities.
    pub extremities: Vec<EventNid>,
    /// The root of the current state.
    pub state_root: StateNid,
    /// The position of the last change of current state.
    pub state_pos: Pos,
    /// The position of the last change of extremities.
    pub head_pos: Pos,
    /// How many members are joined.
    pub joined: i64,
    /// How many members are invited.
    pub invited: i64,
}

impl FromRow for RoomHeadRow {
    fn from_row(row: &Row) -> Result<Self> {
        let extremities: String = row.get(3)?;
        Ok(Self {
            nid: RoomNid(row.get(0)?),
            room_id: row.get(1)?,
            version: row.get(2)?,
            extremities: serde_json::from_str(&extremities).map_err(Error::corrupt)?,
            state_root: StateNid(row.get(4)?),
            state_pos: Pos(row.get(5)?),
            head_pos: Pos(row.get(6)?),
            joined: row.get(7)?,
            invited: row.get(8)?,
        })
    }
}

/// The rooms with these numbers, in no order.
pub async fn heads(conn: &mut Conn, rooms: &[RoomNid]) -> Result<Vec<RoomHeadRow>> {
    conn.all(
        "SELECT nid, room_id, version, extremities, state_root, state_pos, head_pos, joined, invited
         FROM rooms WHERE nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
        &[Bind::list(rooms)],
    )
    .await
}

/// Like [`heads`], with the head of the log at which they were read.
pub async fn heads_as_of(conn: &mut Conn, rooms: &[RoomNid]) -> Result<Vec<(RoomHeadRow, Pos)>> {
    let rows: Vec<AsOf> = conn
        .all(
            "SELECT nid, room_id, version, extremities, state_root, state_pos, head_pos, joined,
                 invited, (SELECT COALESCE(MAX(last_pos), 0) FROM log_batches)
             FROM rooms WHERE nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
            &[Bind::list(rooms)],
        )
        .await?;
    Ok(rows.into_iter().map(|AsOf(room, as_of)| (room, as_of)).collect())
}

struct AsOf(RoomHeadRow, Pos);

impl FromRow for AsOf {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(RoomHeadRow::from_row(row)?, Pos(row.get(9)?)))
    }
}

/// The number of the room with this Matrix ID.
pub async fn nid(conn: &mut Conn, room_id: &str) -> Result<Option<RoomNid>> {
    let row: Option<(i64,)> =
        conn.optional("SELECT nid FROM rooms WHERE room_id = $1", &[room_id.into()]).await?;
    Ok(row.map(|(nid,)| RoomNid(nid)))
}
