//! Who is typing, where nodes share a database. PostgreSQL only: a node that is alone with its
//! SQLite database keeps this in memory.
//!
//! The tables are not written to the server's log and are empty after it crashed. Rooms are pruned
//! by [`change`]; a reader of the counter below what is retained has to be told what is current.

use serde::Serialize;
use stoa_base::RoomNid;

use crate::{Bind, Conn, Error, Result};

/// A change of who is typing in a room. The room also loses those whose time is over.
#[derive(Clone, Debug, Serialize)]
pub struct TypingChange {
    /// The room.
    pub room_nid: RoomNid,
    /// Who starts, goes on, or stops; none where only time went by.
    pub user_id: Option<String>,
    /// For how many milliseconds the user is typing; none for one who stops.
    pub timeout_ms: Option<i64>,
}

/// A room in which somebody is or was typing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingRoom {
    /// The room.
    pub room: RoomNid,
    /// The count at which this was last written.
    pub written: i64,
    /// The count at which those who are typing last changed.
    pub version: i64,
    /// Who is typing, and for how many milliseconds more.
    pub typing: Vec<(String, i64)>,
}

/// What is new since some count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingNews {
    /// The epoch of the counter.
    pub epoch: i64,
    /// The count up to which this is everything.
    pub counter: i64,
    /// Whether there is more.
    pub more: bool,
    /// The rooms.
    pub rooms: Vec<TypingRoom>,
}

/// Makes these changes, at most one for each room and user, and forgets the rooms that were not
/// written for `retained` counts. Does not wait for a flush.
///
/// `conn` must not be in a transaction: others wait until the one that this makes is committed.
pub async fn change(conn: &mut Conn, changes: &[TypingChange], retained: i64) -> Result<()> {
    conn.execute("SELECT change_typing($1::jsonb, $2)", &[Bind::list(changes), retained.into()])
        .await?;
    Ok(())
}

/// What was written after `counter` of `epoch`, or at all where that is another epoch, of at most
/// `limit` rooms. None where the counter has not begun yet.
pub async fn news(
    conn: &mut Conn,
    epoch: i64,
    counter: i64,
    limit: usize,
) -> Result<Option<TypingNews>> {
    type NewsRow = (i64, i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<String>);
    let rows: Vec<NewsRow> = conn
        .all(
            "SELECT c.epoch, c.counter, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT),
                 r.room_nid, r.written, r.version, r.typing
             FROM typing_counter c LEFT JOIN LATERAL (
                 SELECT room_nid, written, version, typing::text FROM typing_rooms
                 WHERE written > CASE WHEN c.epoch = $1 THEN $2 ELSE 0 END
                 ORDER BY written LIMIT $3) r ON true
             ORDER BY r.written",
            &[epoch.into(), counter.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
        )
        .await?;
    let Some((epoch, counter, now_ms, ..)) = rows.first() else { return Ok(None) };
    let mut news = TypingNews { epoch: *epoch, counter: *counter, more: false, rooms: Vec::new() };
    for (_, _, _, room, written, version, typing) in &rows {
        let (Some(room), Some(written), Some(version), Some(typing)) =
            (room, written, version, typing)
        else {
            continue;
        };
        let until: std::collections::BTreeMap<String, i64> =
            serde_json::from_str(typing).map_err(Error::corrupt)?;
        news.rooms.push(TypingRoom {
            room: RoomNid(*room),
            written: *written,
            version: *version,
            typing: until.into_iter().map(|(user_id, until)| (user_id, until - now_ms)).collect(),
        });
    }
    news.more = news.rooms.len() >= limit;
    if let (true, Some(last)) = (news.more, news.rooms.last()) {
        news.counter = last.written;
    }
    Ok(Some(news))
}
