//! Who is typing, if nodes share a database. PostgreSQL only: a node with a SQLite database is
//! alone and keeps this in memory.
//!
//! The tables are unlogged, so they are empty after the server crashed. [`change`] prunes rooms; a
//! reader whose counter is older than what is kept has to be told the current state.

use serde::Serialize;
use stoa_base::RoomNid;

use crate::{Bind, Conn, Error, Result};

/// A change of who is typing in a room. It also removes users from the room whose time is over.
#[derive(Clone, Debug, Serialize)]
pub struct TypingChange {
    /// The room's internal number.
    pub room_nid: RoomNid,
    /// The user who starts, continues, or stops typing; `None` if only time has passed.
    pub user_id: Option<String>,
    /// For how many milliseconds the user is typing; `None` if they stop.
    pub timeout_ms: Option<i64>,
}

/// A room in which somebody is or was typing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingRoom {
    /// The room's internal number.
    pub room: RoomNid,
    /// The count at which the room was last written.
    pub written: i64,
    /// The count at which the set of typing users last changed.
    pub version: i64,
    /// The users who are typing, and for how many milliseconds more.
    pub typing: Vec<(String, i64)>,
}

/// The changes since some count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingNews {
    /// The epoch of the counter.
    pub epoch: i64,
    /// The count up to which this is complete.
    pub counter: i64,
    /// Whether there is more.
    pub more: bool,
    /// The rooms that have changed.
    pub rooms: Vec<TypingRoom>,
}

/// Makes these changes, at most one for each room and user, and forgets rooms that were not written
/// for `retained` counts. Does not wait for a flush.
///
/// `conn` must not be in a transaction, because others wait until this change is committed.
pub async fn change(conn: &mut Conn, changes: &[TypingChange], retained: i64) -> Result<()> {
    conn.execute("SELECT change_typing($1::jsonb, $2)", &[Bind::list(changes), retained.into()])
        .await?;
    Ok(())
}

/// What was written after `counter` of `epoch`, or everything if the epoch has changed, for at most
/// `limit` rooms. `None` if the counter does not exist yet.
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
