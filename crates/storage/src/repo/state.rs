//! State trees and changes of current state.

use stoa_base::{EventNid, Pos, RoomNid, StateNid};

use crate::{Bind, Conn, FromRow, Result, Row};

/// The nodes with these numbers, in no order.
pub async fn nodes(conn: &mut Conn, nids: &[StateNid]) -> Result<Vec<(StateNid, Vec<u8>)>> {
    let rows: Vec<(i64, Vec<u8>)> = conn
        .all(
            "SELECT nid, node FROM state_nodes
             WHERE nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
            &[Bind::list(nids)],
        )
        .await?;
    Ok(rows.into_iter().map(|(nid, node)| (StateNid(nid), node)).collect())
}

/// A change of a room's current state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The position of the change.
    pub pos: Pos,
    /// The event type of the entry.
    pub kind: String,
    /// The state key of the entry.
    pub state_key: String,
    /// The event that was in the state before.
    pub old: Option<EventNid>,
    /// The event that is in the state now.
    pub new: Option<EventNid>,
}

impl FromRow for StateChange {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            pos: Pos(row.get(0)?),
            kind: row.get(1)?,
            state_key: row.get(2)?,
            old: row.get::<Option<i64>>(3)?.map(EventNid),
            new: row.get::<Option<i64>>(4)?.map(EventNid),
        })
    }
}

/// The changes of these rooms' current state after `after` and up to `up_to`, each with its room,
/// in order, at most `limit`.
pub async fn changes_in_rooms(
    conn: &mut Conn,
    rooms: impl IntoIterator<Item = RoomNid>,
    after: Pos,
    up_to: Pos,
    limit: i64,
) -> Result<Vec<(RoomNid, StateChange)>> {
    let rows: Vec<InRoom> = conn
        .all(
            "SELECT pos, type, state_key, old_nid, new_nid, room_nid FROM state_changes
             WHERE room_nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
               AND pos > $2 AND pos <= $3 ORDER BY pos, type, state_key LIMIT $4",
            &[Bind::list(rooms), after.0.into(), up_to.0.into(), limit.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|InRoom(room, change)| (room, change)).collect())
}

/// All changes of one entry of a room's current state, in order.
pub async fn changes_of_entry(
    conn: &mut Conn,
    room: RoomNid,
    kind: &str,
    state_key: &str,
) -> Result<Vec<StateChange>> {
    conn.all(
        "SELECT pos, type, state_key, old_nid, new_nid FROM state_changes
         WHERE room_nid = $1 AND type = $2 AND state_key = $3 ORDER BY pos",
        &[room.0.into(), kind.into(), state_key.into()],
    )
    .await
}

/// The changes of one entry of these rooms' current state after `after`, each with its room, in
/// order.
pub async fn changes_of_entry_in_rooms(
    conn: &mut Conn,
    rooms: impl IntoIterator<Item = RoomNid>,
    kind: &str,
    state_key: &str,
    after: Pos,
) -> Result<Vec<(RoomNid, StateChange)>> {
    let rows: Vec<InRoom> = conn
        .all(
            "SELECT pos, type, state_key, old_nid, new_nid, room_nid FROM state_changes
             WHERE room_nid IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
               AND type = $2 AND state_key = $3 AND pos > $4 ORDER BY pos",
            &[Bind::list(rooms), kind.into(), state_key.into(), after.0.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|InRoom(room, change)| (room, change)).collect())
}

struct InRoom(RoomNid, StateChange);

impl FromRow for InRoom {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(RoomNid(row.get(5)?), StateChange::from_row(row)?))
    }
}
