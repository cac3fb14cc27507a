//! Writing a batch to SQLite: one transaction on the one writing connection, one statement a table.

use stoa_base::{Clock, Pos};

use super::{
    BatchKey, audit,
    batch::{Batch, Table},
    members::Conflict,
    writer::{Timing, Written},
};
use crate::{Conn, Error, Result, Store};

/// Writes the batch, or finds out which members stand in its way and writes nothing.
pub(super) async fn write(
    store: &Store,
    batch: &Batch,
    key: BatchKey,
    clock: &Clock,
    timing: &mut Timing,
) -> Result<Written> {
    let asked = clock.monotonic();
    let mut conn = store.write().await?;
    timing.lock_wait = asked.elapsed();

    let (conflicts, moved) = check_guards(&mut conn, batch).await?;
    if !conflicts.is_empty() {
        return Ok(Written::Conflicts(conflicts));
    }
    let touched = serde_json::to_string(&batch.touched).map_err(Error::corrupt)?;
    let (prev, last): (i64, i64) = conn
        .one(
            LOG_BATCH,
            &[
                batch.positions.into(),
                key.incarnation.into(),
                key.seq.into(),
                clock.now_ms().into(),
                (&touched).into(),
            ],
        )
        .await?;
    for rows in &batch.tables {
        for sql in statements(rows.table) {
            let written = conn.execute(sql, &[(&rows.json).into(), prev.into()]).await?;
            if matches!(rows.table, Table::Rooms | Table::Events) && written != rows.count {
                // A transaction that is not committed is rolled back; this one has written rows
                // that would be found as their own conflict.
                drop(conn);
                let mut conn = store.read().await?;
                return taken(&mut conn, batch).await.map(Written::Conflicts);
            }
        }
    }
    if !batch.audit.is_empty() {
        audit::append(&mut conn, last, &batch.audit).await?;
    }
    conn.commit().await?;
    Ok(Written::Committed { prev: Pos(prev), last: Pos(last), moved })
}

/// What stands in the batch's way, and the members for which their room's extremities have moved
/// though they do not mind.
async fn check_guards(conn: &mut Conn, batch: &Batch) -> Result<(Vec<Conflict>, Vec<usize>)> {
    let (mut conflicts, mut moved) = (Vec::new(), Vec::new());
    if !batch.account_guards.is_empty() {
        let accounts = serde_json::to_string(&batch.account_guards).map_err(Error::corrupt)?;
        let rows: Vec<(i64,)> = conn.all(ACCOUNT_GUARDS, &[(&accounts).into()]).await?;
        for (member,) in rows {
            conflicts.push(Conflict::of_member(member, "account")?);
        }
    }
    if batch.room_guards.is_empty() && batch.session_guards.is_empty() {
        return Ok((conflicts, moved));
    }
    let rooms = serde_json::to_string(&batch.room_guards).map_err(Error::corrupt)?;
    let sessions = serde_json::to_string(&batch.session_guards).map_err(Error::corrupt)?;
    let rows: Vec<(i64, String)> = conn.all(GUARDS, &[(&rooms).into(), (&sessions).into()]).await?;
    for (member, reason) in rows {
        if reason == "moved" {
            moved.push(usize::try_from(member).map_err(Error::corrupt)?);
        } else {
            conflicts.push(Conflict::of_member(member, &reason)?);
        }
    }
    Ok((conflicts, moved))
}

/// The members whose rooms or events are there already.
async fn taken(conn: &mut Conn, batch: &Batch) -> Result<Vec<Conflict>> {
    let (rooms, events) = (batch.rows(Table::Rooms), batch.rows(Table::Events));
    let rows: Vec<(i64, String)> = conn.all(TAKEN, &[rooms.into(), events.into()]).await?;
    rows.into_iter().map(|(nid, reason)| Conflict::of_nid(nid, &reason)).collect()
}

const LOG_BATCH: &str = "
INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
SELECT coalesce(max(last_pos), 0) + $1, coalesce(max(last_pos), 0), $2, $3, $4, $5 FROM log_batches
RETURNING prev_pos, last_pos";

const GUARDS: &str = "
SELECT g.value->>'member', CASE
    WHEN g.value->>'whole' OR coalesce(r.state_pos, 0) <> g.value->>'state_pos' THEN 'room'
    ELSE 'moved' END
FROM json_each($1) AS g LEFT JOIN rooms AS r ON r.nid = g.value->>'room_nid'
WHERE coalesce(r.state_pos, 0) <> g.value->>'state_pos'
    OR coalesce(r.head_pos, 0) <> g.value->>'head_pos'
UNION ALL
SELECT g.value->>'member', 'session'
FROM json_each($2) AS g
WHERE g.value->>'session_id' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE session_id = g.value->>'session_id')
    OR g.value->>'token_hash' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM access_tokens WHERE token_hash = g.value->>'token_hash')";

const ACCOUNT_GUARDS: &str = "
SELECT g.value->>'member'
FROM json_each($1) AS g LEFT JOIN users AS u ON u.user_id = g.value->>'user_id'
WHERE CASE g.value->>'expected'
    WHEN 'absent' THEN u.user_id IS NOT NULL
    WHEN 'password' THEN coalesce(u.deactivated, 1) <> 0
        OR u.password_hash IS NOT g.value->>'password_hash'
    ELSE coalesce(u.deactivated, 1) <> 0 END";

const TAKEN: &str = "
SELECT w.value->>'nid', CASE WHEN r.room_id = w.value->>'room_id' THEN 'room' ELSE 'nid' END
FROM json_each($1) AS w
JOIN rooms AS r ON r.room_id = w.value->>'room_id' OR r.nid = w.value->>'nid'
UNION
SELECT w.value->>'nid', 'event'
FROM json_each($2) AS w
JOIN events AS e ON e.event_id = w.value->>'event_id'
    OR (e.txn_device = w.value->>'txn_device' AND e.txn_id = w.value->>'txn_id')
UNION
SELECT w.value->>'nid', 'nid'
FROM json_each($2) AS w
JOIN events AS e ON e.nid = w.value->>'nid' AND e.event_id <> w.value->>'event_id'";

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
FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING"],
        Table::RoomUpdates => &["
UPDATE rooms SET
    extremities = (
        SELECT json_group_array(x ORDER BY x) FROM (
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
DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, pos = excluded.pos
WHERE coalesce((
    SELECT (n.ord_pos, n.ord_depth, n.ord_seq) > (o.ord_pos, o.ord_depth, o.ord_seq)
    FROM events n, events o
    WHERE n.event_id = excluded.event_id AND o.event_id = receipts.event_id), true)"],
        Table::AccountUpdates => &["
UPDATE users SET
    password_hash = coalesce(u.value->>'password_hash', users.password_hash),
    admin = coalesce(u.value->>'admin', users.admin),
    deactivated = coalesce(u.value->>'deactivated', users.deactivated)
FROM json_each($1) AS u
WHERE users.user_id = u.value->>'user_id'"],
        Table::AllDeviceRemovals => &[
            "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s ON s.user_id = d.value->>'user_id'
    WHERE d.value->>'except_device' IS NULL OR s.device_id IS NOT d.value->>'except_device')",
            "
DELETE FROM access_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s ON s.user_id = d.value->>'user_id'
    WHERE d.value->>'except_device' IS NULL OR s.device_id IS NOT d.value->>'except_device')",
            "
DELETE FROM sessions WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s ON s.user_id = d.value->>'user_id'
    WHERE d.value->>'except_device' IS NULL OR s.device_id IS NOT d.value->>'except_device')",
            "
DELETE FROM devices WHERE (user_id, device_id) IN (
    SELECT t.user_id, t.device_id FROM json_each($1) AS d
    JOIN devices t ON t.user_id = d.value->>'user_id'
    WHERE t.device_id IS NOT d.value->>'except_device')",
        ],
        Table::DeviceRemovals => &[
            "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s
    ON s.user_id = d.value->>'user_id' AND s.device_id = d.value->>'device_id')",
            "
DELETE FROM access_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS d JOIN sessions s
    ON s.user_id = d.value->>'user_id' AND s.device_id = d.value->>'device_id')",
            "
DELETE FROM sessions WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
            "
DELETE FROM devices WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
        ],
        // A device goes with its last session.
        Table::SessionRemovals => &[
            "
DELETE FROM devices WHERE (user_id, device_id) IN (
    SELECT s.user_id, s.device_id
    FROM json_each($1) AS r JOIN sessions s ON s.session_id = r.value->>'session_id'
    WHERE NOT EXISTS (SELECT 1 FROM sessions o WHERE o.user_id = s.user_id
        AND o.device_id = s.device_id AND o.session_id <> s.session_id))",
            "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT value->>'session_id' FROM json_each($1))",
            "
DELETE FROM access_tokens WHERE session_id IN (SELECT value->>'session_id' FROM json_each($1))",
            "
DELETE FROM sessions WHERE session_id IN (SELECT value->>'session_id' FROM json_each($1))",
        ],
        Table::TokenRemovals => &[
            "
UPDATE access_tokens SET parent_hash = NULL
WHERE token_hash IN (SELECT value->>'successor' FROM json_each($1))",
            "
INSERT INTO spent_refresh_tokens (session_id, generation, refresh_hash)
SELECT t.session_id, t.generation, t.refresh_hash
FROM json_each($1) AS d JOIN access_tokens t ON t.token_hash = d.value->>'token_hash'
WHERE t.refresh_hash IS NOT NULL
    AND EXISTS (SELECT 1 FROM access_tokens s WHERE s.token_hash = d.value->>'successor')
ON CONFLICT DO NOTHING",
            // The last thousand are enough.
            "
DELETE FROM spent_refresh_tokens WHERE (session_id, generation) IN (
    SELECT o.session_id, o.generation FROM json_each($1) AS d
    JOIN access_tokens s ON s.token_hash = d.value->>'successor'
    JOIN spent_refresh_tokens o
    ON o.session_id = s.session_id AND o.generation < s.generation - 1000)",
            "
DELETE FROM access_tokens WHERE token_hash IN (
    SELECT value->>'token_hash' FROM json_each($1) AS d
    WHERE EXISTS (SELECT 1 FROM access_tokens s WHERE s.token_hash = d.value->>'successor'))",
            "
DELETE FROM access_tokens WHERE parent_hash IN (
    SELECT value->>'token_hash' FROM json_each($1) AS d
    WHERE NOT EXISTS (SELECT 1 FROM access_tokens p WHERE p.token_hash = d.value->>'token_hash'))",
        ],
        Table::Users => &["
INSERT INTO users (user_id, password_hash, admin, created_ms)
SELECT value->>'user_id', value->>'password_hash', value->>'admin', value->>'created_ms'
FROM json_each($1)"],
        Table::ProfileFields => &["
INSERT INTO profile_fields (user_id, field, value)
SELECT p.value->>'user_id', p.value->>'field', p.value->>'value' FROM json_each($1) AS p WHERE true
ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value"],
        Table::InteractiveResults => &["
UPDATE interactive_auth_sessions SET result = r.value->>'result'
FROM json_each($1) AS r
WHERE interactive_auth_sessions.session_hash = r.value->>'session_hash'"],
        Table::Devices => &["
INSERT INTO devices (user_id, device_id, display_name, created_ms)
SELECT value->>'user_id', value->>'device_id', value->>'display_name', value->>'created_ms'
FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING"],
        // A session takes the place of those that its device had.
        Table::Sessions => &[
            "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS n JOIN sessions s
    ON s.user_id = n.value->>'user_id' AND s.device_id = n.value->>'device_id')",
            "
DELETE FROM access_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS n JOIN sessions s
    ON s.user_id = n.value->>'user_id' AND s.device_id = n.value->>'device_id')",
            "
DELETE FROM sessions WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
            "
INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms, expires_ms)
SELECT value->>'session_id', value->>'user_id', value->>'device_id', value->>'origin',
    value->>'created_ms', value->>'expires_ms'
FROM json_each($1)",
        ],
        // A token that was refreshed from another takes the place of those that were refreshed from
        // it before: nobody has used one of them.
        Table::Tokens => &[
            "
DELETE FROM access_tokens WHERE parent_hash IN (SELECT value->>'parent_hash' FROM json_each($1))",
            "
INSERT INTO access_tokens (token_hash, session_id, generation, user_id, device_id, created_ms,
    expires_ms, refresh_hash, parent_hash)
SELECT n.value->>'token_hash', s.session_id, n.value->>'generation', s.user_id,
    coalesce(s.device_id, ''), n.value->>'created_ms', n.value->>'expires_ms',
    n.value->>'refresh_hash', n.value->>'parent_hash'
FROM json_each($1) AS n JOIN sessions s ON s.session_id = n.value->>'session_id'",
        ],
    }
}
