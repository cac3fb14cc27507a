//! Who is in which room, according to the rooms' current state.

use ruma::ServerName;
use stoa_base::{EventNid, Pos, RoomNid};

use crate::{Bind, Conn, Error, FromRow, Result, Row};

/// A user's current membership of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMembership {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The room's internal number.
    pub room: RoomNid,
    /// `join`, `invite`, `leave`, `ban` or `knock`.
    pub membership: String,
    /// The internal number of the member event.
    pub event: EventNid,
    /// Who sent it.
    pub sender: String,
    /// The position at which it became current.
    pub pos: Pos,
    /// Whether the user has forgotten the room.
    pub forgotten: bool,
}

impl FromRow for StoredMembership {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            user_id: row.get(0)?,
            room: RoomNid(row.get(1)?),
            membership: row.get(2)?,
            event: EventNid(row.get(3)?),
            sender: row.get(4)?,
            pos: Pos(row.get(5)?),
            forgotten: row.get(6)?,
        })
    }
}

/// All memberships of a user, past ones too, by room.
pub async fn of_user(conn: &mut Conn, user_id: &str) -> Result<Vec<StoredMembership>> {
    conn.all(
        "SELECT user_id, room_nid, membership, event_nid, sender, pos, forgotten
         FROM memberships WHERE user_id = $1 ORDER BY room_nid",
        &[user_id.into()],
    )
    .await
}

/// The memberships of these users that became current after `after`, and those of rooms that they
/// have forgotten, in no order, at most `limit`.
pub async fn newer_or_forgotten(
    conn: &mut Conn,
    users: impl IntoIterator<Item = String>,
    after: Pos,
    limit: i64,
) -> Result<Vec<StoredMembership>> {
    conn.all(
        "SELECT user_id, room_nid, membership, event_nid, sender, pos, forgotten
         FROM memberships WHERE user_id IN (SELECT value FROM json_each($1))
           AND (pos > $2 OR forgotten <> 0) LIMIT $3",
        &[Bind::list(users), after.0.into(), limit.into()],
    )
    .await
}

/// The membership of a user in one room.
pub async fn of_user_in_room(
    conn: &mut Conn,
    user_id: &str,
    room: RoomNid,
) -> Result<Option<StoredMembership>> {
    conn.optional(
        "SELECT user_id, room_nid, membership, event_nid, sender, pos, forgotten
         FROM memberships WHERE user_id = $1 AND room_nid = $2",
        &[user_id.into(), room.0.into()],
    )
    .await
}

/// The members of a room who have this membership, by user, at most `limit`.
pub async fn of_room(
    conn: &mut Conn,
    room: RoomNid,
    membership: &str,
    limit: i64,
) -> Result<Vec<StoredMembership>> {
    conn.all(
        "SELECT user_id, room_nid, membership, event_nid, sender, pos, forgotten
         FROM memberships WHERE room_nid = $1 AND membership = $2 ORDER BY user_id LIMIT $3",
        &[room.0.into(), membership.into(), limit.into()],
    )
    .await
}

/// The joined members of a room after the user `after`, by user, each with the JSON of the member
/// event, at most `limit`.
pub async fn joined_events(
    conn: &mut Conn,
    room: RoomNid,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, String)>> {
    conn.all(
        "SELECT members.user_id, events.json FROM (
             SELECT user_id, event_nid FROM memberships
             WHERE room_nid = $1 AND membership = 'join' AND user_id > $2
             ORDER BY user_id LIMIT $3
         ) members JOIN events ON events.nid = members.event_nid ORDER BY members.user_id",
        &[room.0.into(), after.into(), limit.into()],
    )
    .await
}

/// The joined members of a room who belong to a server, after the user `after`, by user, at most
/// `limit`.
pub async fn joined_of_server(
    conn: &mut Conn,
    room: RoomNid,
    server: &ServerName,
    after: &str,
    limit: i64,
) -> Result<Vec<String>> {
    let of_server = format!(":{server}");
    let rows: Vec<(String,)> = conn
        .all(
            "SELECT user_id FROM memberships
             WHERE room_nid = $1 AND membership = 'join' AND user_id > $2
                 AND substr(user_id, length(user_id) - length($3) + 1) = $3
             ORDER BY user_id LIMIT $4",
            &[room.0.into(), after.into(), of_server.as_str().into(), limit.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|(user_id,)| user_id).collect())
}

const FIRST_SQLITE: &str = "
SELECT CAST(wanted.value AS BIGINT), (
    SELECT json_group_array(first.user_id ORDER BY first.pos, first.user_id) FROM (
        SELECT user_id, pos FROM (
            SELECT user_id, pos FROM memberships
            WHERE room_nid = CAST(wanted.value AS BIGINT) AND membership = $2
            ORDER BY pos, user_id LIMIT $4
        ) one
        UNION
        SELECT user_id, pos FROM (
            SELECT user_id, pos FROM memberships
            WHERE room_nid = CAST(wanted.value AS BIGINT) AND membership = $3
            ORDER BY pos, user_id LIMIT $4
        ) other
        ORDER BY pos, user_id LIMIT $4
    ) first
) FROM json_each($1) wanted";

const FIRST_POSTGRES: &str = "
SELECT CAST(wanted.value AS BIGINT), (
    SELECT coalesce(json_agg(first.user_id ORDER BY first.pos, first.user_id)::text, '[]') FROM (
        SELECT user_id, pos FROM (
            SELECT user_id, pos FROM memberships
            WHERE room_nid = CAST(wanted.value AS BIGINT) AND membership = $2
            ORDER BY pos, user_id LIMIT $4
        ) one
        UNION
        SELECT user_id, pos FROM (
            SELECT user_id, pos FROM memberships
            WHERE room_nid = CAST(wanted.value AS BIGINT) AND membership = $3
            ORDER BY pos, user_id LIMIT $4
        ) other
        ORDER BY pos, user_id LIMIT $4
    ) first
) FROM json_each($1) wanted";

/// For each of these rooms, the members whose membership is one of `memberships`, ordered by when
/// it became current, oldest first, at most `limit` per room. Rooms without any are left out.
pub async fn first_of_rooms(
    conn: &mut Conn,
    rooms: impl IntoIterator<Item = RoomNid>,
    memberships: [&str; 2],
    limit: i64,
) -> Result<Vec<(RoomNid, Vec<String>)>> {
    let [one, other] = memberships;
    let sql = conn.either(FIRST_SQLITE, FIRST_POSTGRES);
    let binds = [Bind::list(rooms), one.into(), other.into(), limit.into()];
    let rows: Vec<(i64, String)> = conn.all(sql, &binds).await?;
    let mut found = Vec::new();
    for (room, users) in rows {
        let users: Vec<String> = serde_json::from_str(&users).map_err(Error::corrupt)?;
        if !users.is_empty() {
            found.push((RoomNid(room), users));
        }
    }
    Ok(found)
}
