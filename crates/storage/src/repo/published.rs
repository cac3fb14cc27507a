//! The rooms of the room directory.

use stoa_base::{RoomNid, StateNid};

use crate::{Conn, FromRow, Result, Row};

/// A place in the list. Rooms with the most joined members are at the top; among equals, the one
/// with the highest number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of joined members.
    pub joined: i64,
    /// The room's internal number.
    pub room: RoomNid,
}

impl Place {
    /// Above every room.
    pub const TOP: Self = Self { joined: i64::MAX, room: RoomNid(i64::MAX) };

    /// The next place further up.
    #[must_use]
    pub const fn above(self) -> Self {
        Self { joined: self.joined, room: RoomNid(self.room.0.saturating_add(1)) }
    }
}

/// A room in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRow {
    /// Its place in the list.
    pub place: Place,
    /// Its Matrix ID.
    pub room_id: String,
    /// The root of its current state.
    pub state: StateNid,
}

impl FromRow for PublishedRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            place: Place { room: RoomNid(row.get(0)?), joined: row.get(1)? },
            room_id: row.get(2)?,
            state: StateNid(row.get(3)?),
        })
    }
}

/// Publishes a room in the list.
pub async fn publish(conn: &mut Conn, room: RoomNid) -> Result<()> {
    conn.execute(
        "INSERT INTO published_rooms (room_nid) VALUES ($1) ON CONFLICT DO NOTHING",
        &[room.0.into()],
    )
    .await?;
    Ok(())
}

/// Removes a room from the list.
pub async fn withdraw(conn: &mut Conn, room: RoomNid) -> Result<()> {
    conn.execute("DELETE FROM published_rooms WHERE room_nid = $1", &[room.0.into()]).await?;
    Ok(())
}

/// Whether a room is on the list.
pub async fn is_published(conn: &mut Conn, room: RoomNid) -> Result<bool> {
    let found: Option<(i64,)> = conn
        .optional("SELECT room_nid FROM published_rooms WHERE room_nid = $1", &[room.0.into()])
        .await?;
    Ok(found.is_some())
}

/// How many rooms with members are on the list.
pub async fn count(conn: &mut Conn) -> Result<i64> {
    let (count,) = conn
        .one(
            "SELECT COUNT(*) FROM published_rooms p JOIN rooms r ON r.nid = p.room_nid
             WHERE r.joined > 0",
            &[],
        )
        .await?;
    Ok(count)
}

/// The rooms with members below `place`, from the top, at most `limit`.
pub async fn below(conn: &mut Conn, place: Place, limit: i64) -> Result<Vec<PublishedRow>> {
    conn.all(
        "SELECT r.nid, r.joined, r.room_id, r.state_root
         FROM published_rooms p JOIN rooms r ON r.nid = p.room_nid
         WHERE r.joined > 0 AND (r.joined, r.nid) < ($1, $2)
         ORDER BY r.joined DESC, r.nid DESC LIMIT $3",
        &[place.joined.into(), place.room.0.into(), limit.into()],
    )
    .await
}

/// The rooms with members at `place` and above, from the bottom, at most `limit`.
pub async fn from_and_above(
    conn: &mut Conn,
    place: Place,
    limit: i64,
) -> Result<Vec<PublishedRow>> {
    conn.all(
        "SELECT r.nid, r.joined, r.room_id, r.state_root
         FROM published_rooms p JOIN rooms r ON r.nid = p.room_nid
         WHERE r.joined > 0 AND (r.joined, r.nid) >= ($1, $2)
         ORDER BY r.joined, r.nid LIMIT $3",
        &[place.joined.into(), place.room.0.into(), limit.into()],
    )
    .await
}
