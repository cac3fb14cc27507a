//! Room aliases, including those that are reserved for rooms being created.

use stoa_base::RoomNid;

use crate::{Conn, FromRow, Result, Row};

/// An alias that points to a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRow {
    /// The alias, such as `#room:example.org`.
    pub alias: String,
    /// The room's internal number.
    pub room: RoomNid,
    /// The user who created it.
    pub creator: String,
}

impl FromRow for AliasRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { alias: row.get(0)?, room: RoomNid(row.get(1)?), creator: row.get(2)? })
    }
}

/// The row of an alias; `None` also for an alias that is only reserved.
pub async fn get(conn: &mut Conn, alias: &str) -> Result<Option<AliasRow>> {
    conn.optional(
        "SELECT alias, room_nid, creator FROM aliases
         WHERE alias = $1 AND room_nid IS NOT NULL",
        &[alias.into()],
    )
    .await
}

/// The aliases of a room, in order, at most `limit`.
pub async fn of_room(conn: &mut Conn, room: RoomNid, limit: i64) -> Result<Vec<AliasRow>> {
    conn.all(
        "SELECT alias, room_nid, creator FROM aliases
         WHERE room_nid = $1 ORDER BY alias LIMIT $2",
        &[room.0.into(), limit.into()],
    )
    .await
}

/// Adds an alias, and returns whether it was free.
pub async fn insert(conn: &mut Conn, row: &AliasRow) -> Result<bool> {
    let written = conn
        .execute(
            "INSERT INTO aliases (alias, room_nid, creator) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            &[(&row.alias).into(), row.room.0.into(), (&row.creator).into()],
        )
        .await?;
    Ok(written == 1)
}

/// Reserves an alias until a given time of the database's clock, and returns whether it was free.
pub async fn reserve(conn: &mut Conn, alias: &str, creator: &str, until_ms: i64) -> Result<bool> {
    let written = conn
        .execute(
            "INSERT INTO aliases (alias, creator, reserved_until_ms) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            &[alias.into(), creator.into(), until_ms.into()],
        )
        .await?;
    Ok(written == 1)
}

/// Turns a reservation into an alias of `room`, and returns whether the reservation still existed.
pub async fn settle(
    conn: &mut Conn,
    alias: &str,
    reserved_until_ms: i64,
    room: RoomNid,
) -> Result<bool> {
    let written = conn
        .execute(
            "UPDATE aliases SET room_nid = $1, reserved_until_ms = NULL
             WHERE alias = $2 AND reserved_until_ms = $3",
            &[room.0.into(), alias.into(), reserved_until_ms.into()],
        )
        .await?;
    Ok(written == 1)
}

/// Releases a reservation.
pub async fn release(conn: &mut Conn, alias: &str, reserved_until_ms: i64) -> Result<()> {
    conn.execute(
        "DELETE FROM aliases WHERE alias = $1 AND reserved_until_ms = $2",
        &[alias.into(), reserved_until_ms.into()],
    )
    .await?;
    Ok(())
}

/// Releases all reservations that ended before `now_ms`, which were left behind.
pub async fn release_overdue(conn: &mut Conn, now_ms: i64) -> Result<()> {
    conn.execute("DELETE FROM aliases WHERE reserved_until_ms < $1", &[now_ms.into()]).await?;
    Ok(())
}

/// Deletes an alias of `room`, and returns whether it existed.
pub async fn delete(conn: &mut Conn, alias: &str, room: RoomNid) -> Result<bool> {
    let written = conn
        .execute(
            "DELETE FROM aliases WHERE alias = $1 AND room_nid = $2",
            &[alias.into(), room.0.into()],
        )
        .await?;
    Ok(written == 1)
}
