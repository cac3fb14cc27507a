//! Writing a batch to SQLite: one transaction on the one writing connection, one statement a table.

use stoa_base::Pos;

use super::{
    batch::{Batch, Table},
    writer::{Conflict, Written},
};
use crate::{Error, Result, Store};

/// Writes the batch, or finds out which members stand in its way and writes nothing.
///
/// There is one node on SQLite, so what an append was authorized against is what this node has in
/// memory, and a chain that broke is refused before it comes here: guards have nothing to look at.
pub(super) async fn write(
    store: &Store,
    batch: &Batch,
    key: (i64, i64),
    now_ms: i64,
) -> Result<Written> {
    let mut conn = store.write().await?;
    let logged: Option<(i64, i64)> = conn
        .optional(
            "SELECT prev_pos, last_pos FROM log_batches WHERE incarnation = $1 AND batch_seq = $2",
            &[key.0.into(), key.1.into()],
        )
        .await?;
    if let Some((prev, last)) = logged {
        return Ok(Written::Committed { prev: Pos(prev), last: Pos(last) });
    }
    let (head,): (i64,) =
        conn.one("SELECT COALESCE(MAX(last_pos), 0) FROM log_batches", &[]).await?;

    for (table, rows) in &batch.tables {
        for sql in statements(*table) {
            let written = conn.execute(sql, &[rows.into(), head.into()]).await?;
            if *table == Table::Events && written != batch.events {
                let members: Vec<(i64,)> = conn.all(EVENTS_NOT_WRITTEN, &[rows.into()]).await?;
                let conflicts = members.into_iter().map(|(member,)| {
                    let member = usize::try_from(member).map_err(Error::corrupt)?;
                    Ok(Conflict { member, reason: "event".to_owned() })
                });
                return Ok(Written::Conflicts(conflicts.collect::<Result<_>>()?));
            }
        }
    }

    let last = head + batch.positions;
    let touched = serde_json::to_string(&batch.touched).map_err(Error::corrupt)?;
    conn.execute(
        "INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            last.into(),
            head.into(),
            key.0.into(),
            key.1.into(),
            now_ms.into(),
            (&touched).into(),
        ],
    )
    .await?;
    conn.commit().await?;
    Ok(Written::Committed { prev: Pos(head), last: Pos(last) })
}

const EVENTS_NOT_WRITTEN: &str = "
SELECT DISTINCT value->>'member' FROM json_each($1)
WHERE NOT EXISTS (SELECT 1 FROM events WHERE nid = value->>'nid')";

/// The statements that write the rows of a table: `$1` is the JSON array, `$2` the head.
const fn statements(table: Table) -> &'static [&'static str] {
    match table {
        Table::Events => &["
INSERT INTO events (nid, event_id, room_nid, pos, ord_pos, ord_depth, ord_seq, depth, sender, type,
    state_key, origin_ts, status, state_before, state_after, partial, replaces, txn_device, txn_id,
    json)
SELECT value->>'nid', value->>'event_id', value->>'room_nid', $2 + (value->>'pos'),
    coalesce($2 + (value->>'pos'), value->>'ord_pos'), value->>'ord_depth', value->>'ord_seq',
    value->>'depth', value->>'sender', value->>'type', value->>'state_key', value->>'origin_ts',
    value->>'status', value->>'state_before', value->>'state_after', value->>'partial',
    value->>'replaces', value->>'txn_device', value->>'txn_id', value->>'json'
FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING"],
        Table::Rooms => &["
INSERT INTO rooms (nid, room_id, version, created_ms, extremities, state_root, state_pos, head_pos,
    joined, invited)
SELECT value->>'nid', value->>'room_id', value->>'version', value->>'created_ms', '[]', 0, 0, 0, 0, 0
FROM json_each($1)"],
        Table::RoomUpdates => &["
UPDATE rooms SET
    extremities = (
        SELECT json_group_array(x) FROM (
            SELECT value AS x FROM json_each(rooms.extremities)
            UNION
            SELECT value FROM json_each(u.value, '$.added'))
        WHERE x NOT IN (SELECT value FROM json_each(u.value, '$.consumed'))),
    state_root = coalesce(u.value->>'state_root', rooms.state_root),
    state_pos = coalesce($2 + (u.value->>'state_pos'), rooms.state_pos),
    head_pos = coalesce($2 + (u.value->>'head_pos'), rooms.head_pos),
    joined = rooms.joined + (u.value->>'joined'),
    invited = rooms.invited + (u.value->>'invited')
FROM json_each($1) AS u
WHERE rooms.nid = u.value->>'room_nid'"],
        Table::EventUpdates => &["
UPDATE events SET
    pos = coalesce($2 + (u.value->>'pos'), events.pos),
    ord_pos = coalesce($2 + (u.value->>'pos'), u.value->>'ord_pos', events.ord_pos),
    ord_depth = coalesce(u.value->>'ord_depth', events.ord_depth),
    ord_seq = coalesce(u.value->>'ord_seq', events.ord_seq),
    status = coalesce(u.value->>'status', events.status),
    state_before = coalesce(u.value->>'state_before', events.state_before),
    state_after = coalesce(u.value->>'state_after', events.state_after),
    partial = coalesce(u.value->>'partial', events.partial)
FROM json_each($1) AS u
WHERE events.nid = u.value->>'nid'"],
        Table::Redactions => &["
UPDATE events SET json = u.value->>'json', redacted_by = u.value->>'redacted_by',
    revision = revision + 1
FROM json_each($1) AS u
WHERE events.nid = u.value->>'nid'"],
        Table::MissingPrevEvents => &["
INSERT INTO missing_prev_events (prev_event_id, event_nid)
SELECT value->>'prev_event_id', value->>'event_nid' FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING"],
        Table::StateNodes => &["
INSERT INTO state_nodes (nid, node)
SELECT value->>'nid', unhex(value->>'node') FROM json_each($1)"],
        Table::StateChanges => &["
INSERT INTO state_changes (room_nid, pos, type, state_key, old_nid, new_nid)
SELECT value->>'room_nid', $2 + (value->>'pos'), value->>'type', value->>'state_key',
    value->>'old_nid', value->>'new_nid'
FROM json_each($1)"],
        Table::Memberships => &["
INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
SELECT value->>'user_id', value->>'room_nid', value->>'membership', value->>'event_nid',
    value->>'sender', $2 + (value->>'pos')
FROM json_each($1) WHERE true
ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership,
    event_nid = excluded.event_nid, sender = excluded.sender, pos = excluded.pos, forgotten = 0"],
        Table::ForgottenRooms => &["
UPDATE memberships SET forgotten = 1
FROM json_each($1) AS f
WHERE memberships.user_id = f.value->>'user_id' AND memberships.room_nid = f.value->>'room_nid'
    AND memberships.membership IN ('leave', 'ban')"],
        Table::AccountData => &["
INSERT INTO account_data (user_id, room_nid, type, content, pos)
SELECT value->>'user_id', value->>'room_nid', value->>'type', value->>'content',
    $2 + (value->>'pos')
FROM json_each($1) WHERE true
ON CONFLICT (user_id, room_nid, type) DO UPDATE SET content = excluded.content, pos = excluded.pos"],
        Table::Receipts => &["
INSERT INTO receipts (room_nid, type, user_id, thread, event_id, ts, pos)
SELECT value->>'room_nid', value->>'type', value->>'user_id', value->>'thread', value->>'event_id',
    value->>'ts', $2 + (value->>'pos')
FROM json_each($1) WHERE true
ON CONFLICT (room_nid, type, user_id, thread)
DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, pos = excluded.pos"],
        Table::DeviceRemovals => &[
            "
DELETE FROM access_tokens WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
            "
DELETE FROM devices WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
        ],
        Table::TokenRemovals => &[
            "
UPDATE access_tokens SET parent_hash = NULL
WHERE token_hash IN (SELECT value->>'successor' FROM json_each($1))",
            "
DELETE FROM access_tokens WHERE token_hash IN (
    SELECT value->>'token_hash' FROM json_each($1) AS d
    WHERE value->>'successor' IS NULL
        OR EXISTS (SELECT 1 FROM access_tokens s WHERE s.token_hash = d.value->>'successor'))",
            "
DELETE FROM access_tokens WHERE parent_hash IN (
    SELECT value->>'token_hash' FROM json_each($1) AS d
    WHERE NOT EXISTS (SELECT 1 FROM access_tokens p WHERE p.token_hash = d.value->>'token_hash'))",
        ],
    }
}
