//! Writing a batch to SQLite: one text on the one writing connection, from BEGIN to COMMIT.
//!
//! Each text that is handed to SQLite's thread costs two switches between threads, more than most
//! statements take. So a batch is one text, composed of the statements that it needs. It ends at
//! the first statement that fails, and what stood in the way is found out afterwards.

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Either, Executor as _, Row as _, Sqlite, pool::PoolConnection, query::Query,
};
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
    let conn = Transaction { conn: store.sqlite_writer().await?, has_ended: false };
    timing.lock_wait = asked.elapsed();

    store.writes().add();
    match conn.run(batch, key, clock.now_ms()).await {
        Err(error) if error.is_refusal() => {
            let conflicts = conflicts(&mut store.read().await?, batch).await?;
            if conflicts.is_empty() { Err(error) } else { Ok(Written::Conflicts(conflicts)) }
        }
        outcome => outcome,
    }
}

/// The statements of a batch, and what is bound to them.
struct Text {
    sql: String,
    /// The numbers `$1` to `$4`.
    numbers: [i64; 4],
    /// What follows from `$5` on.
    texts: Vec<String>,
}

impl Text {
    /// The text from BEGIN to COMMIT. `link` is the link of the audit chain for the batch's entries;
    /// where there is one, the transaction has begun already.
    fn new(batch: &Batch, key: BatchKey, now_ms: i64, link: Option<String>) -> Result<Self> {
        let mut text = Self {
            sql: String::new(),
            numbers: [batch.positions, key.incarnation, key.seq, now_ms],
            texts: vec![to_json(&batch.touched)?],
        };
        if link.is_none() {
            text.add("BEGIN IMMEDIATE");
        }
        if !batch.account_guards.is_empty() {
            let accounts = text.bind(to_json(&batch.account_guards)?);
            text.add_guards(&ACCOUNT_GUARDS.replace("$1", &accounts));
        }
        if !(batch.room_guards.is_empty() && batch.session_guards.is_empty()) {
            let rooms = text.bind(to_json(&batch.room_guards)?);
            let sessions = text.bind(to_json(&batch.session_guards)?);
            let guards = GUARDS.replace("$1", &rooms).replace("$2", &sessions);
            text.add_guards(&guards);
        }
        text.add(LOG_BATCH);
        for rows in &batch.tables {
            let json = text.bind(rows.json.clone());
            for sql in statements(rows.table) {
                text.add(&sql.replace("$1", &json).replace("$2", HEAD));
            }
        }
        if let Some(link) = link {
            let (entries, link) = (text.bind(to_json(&batch.audit)?), text.bind(link));
            text.add(&AUDIT_ENTRIES.replace("$1", &entries));
            text.add(&AUDIT_LINK.replace("$1", &link));
        }
        text.add("COMMIT");
        Ok(text)
    }

    fn add_guards(&mut self, guards: &str) {
        // A reason other than 'moved' is not JSON. So `json` fails for it, and the text ends there,
        // before anything is written.
        self.add(&format!(
            "SELECT CASE reason WHEN 'moved' THEN member ELSE json(reason) END FROM ({guards})"
        ));
    }

    fn add(&mut self, sql: &str) {
        self.sql.push_str(sql);
        self.sql.push(';');
    }

    /// Binds a text, and gives the name by which statements take it.
    fn bind(&mut self, text: String) -> String {
        self.texts.push(text);
        format!("${}", self.numbers.len() + self.texts.len())
    }
}

/// The writing connection. Whoever stops waiting for it in the middle of a text leaves it in a
/// transaction: it is then closed instead of being given back.
struct Transaction {
    conn: PoolConnection<Sqlite>,
    has_ended: bool,
}

impl Transaction {
    /// Writes the batch, or rolls back what was written of it.
    async fn run(mut self, batch: &Batch, key: BatchKey, now_ms: i64) -> Result<Written> {
        let outcome = self.write(batch, key, now_ms).await;
        self.has_ended = match &outcome {
            Ok(_) => true,
            // Where the disk is full or fails, SQLite has ended the transaction by itself, and a
            // new connection is the safer one.
            Err(_) => self.conn.execute("ROLLBACK").await.is_ok(),
        };
        outcome
    }

    async fn write(&mut self, batch: &Batch, key: BatchKey, now_ms: i64) -> Result<Written> {
        if batch.audit.is_empty() {
            return self.fetch(Text::new(batch, key, now_ms, None)?).await;
        }
        // SQLite has no SHA-256, so the link is computed here, and what it is computed from must not
        // move meanwhile.
        self.conn.execute("BEGIN IMMEDIATE").await?;
        let row = self.conn.fetch_one(AUDIT_HEAD).await?;
        let (head, previous): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let link = audit::link(previous.as_deref(), head + batch.positions, &batch.audit);
        self.fetch(Text::new(batch, key, now_ms, Some(link))?).await
    }

    async fn fetch(&mut self, text: Text) -> Result<Written> {
        let query = sqlx::query(AssertSqlSafe(text.sql));
        let query = text.numbers.into_iter().fold(query, Query::bind);
        let query = text.texts.into_iter().fold(query, Query::bind);
        let mut results = self.conn.fetch_many(query);
        let (mut moved, mut written) = (Vec::new(), None);
        while let Some(result) = results.try_next().await? {
            match result {
                Either::Left(_) => {}
                Either::Right(row) if row.len() == 1 => {
                    let member: i64 = row.try_get(0)?;
                    moved.push(usize::try_from(member).map_err(Error::corrupt)?);
                }
                Either::Right(row) => {
                    written = Some((Pos(row.try_get(0)?), Pos(row.try_get(1)?)));
                }
            }
        }
        let (prev, last) = written.ok_or_else(|| Error::corrupt("a batch without positions"))?;
        Ok(Written::Committed { prev, last, moved })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.has_ended {
            self.conn.close_on_drop();
        }
    }
}

/// What stands in the way of a batch that was refused: its guards, or rooms and events that are
/// there already.
async fn conflicts(conn: &mut Conn, batch: &Batch) -> Result<Vec<Conflict>> {
    let (rooms, sessions) = (to_json(&batch.room_guards)?, to_json(&batch.session_guards)?);
    let mut rows: Vec<(i64, String)> =
        conn.all(GUARDS, &[(&rooms).into(), (&sessions).into()]).await?;
    let accounts = to_json(&batch.account_guards)?;
    rows.extend(conn.all::<(i64, String)>(ACCOUNT_GUARDS, &[(&accounts).into()]).await?);
    let refused = rows.iter().filter(|(_, reason)| reason != "moved");
    let refused: Vec<_> = refused
        .map(|(member, reason)| Conflict::of_member(*member, reason))
        .collect::<Result<_>>()?;
    if !refused.is_empty() {
        return Ok(refused);
    }
    let (rooms, events) = (batch.rows(Table::Rooms), batch.rows(Table::Events));
    let rows: Vec<(i64, String)> = conn.all(TAKEN, &[rooms.into(), events.into()]).await?;
    rows.iter().map(|(nid, reason)| Conflict::of_nid(*nid, reason)).collect()
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::corrupt)
}

/// The head before the batch, once [`LOG_BATCH`] has run.
const HEAD: &str = "(SELECT prev_pos FROM log_batches ORDER BY last_pos DESC LIMIT 1)";

const LOG_BATCH: &str = "
INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
SELECT coalesce(max(last_pos), 0) + $1, coalesce(max(last_pos), 0), $2, $3, $4, $5 FROM log_batches
RETURNING prev_pos, last_pos";

/// Which members' rooms or sessions are not what they were built on.
const GUARDS: &str = "
SELECT g.value->>'member' AS member, CASE
    WHEN g.value->>'whole' OR coalesce(r.state_pos, 0) <> g.value->>'state_pos' THEN 'room'
    ELSE 'moved' END AS reason
FROM json_each($1) AS g LEFT JOIN rooms AS r ON r.nid = g.value->>'room_nid'
WHERE coalesce(r.state_pos, 0) <> g.value->>'state_pos'
    OR coalesce(r.head_pos, 0) <> g.value->>'head_pos'
UNION ALL
SELECT g.value->>'member', 'session'
FROM json_each($2) AS g
WHERE g.value->>'session_id' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM sessions
            WHERE session_id = g.value->>'session_id' AND ended_ms IS NULL)
    OR g.value->>'token_hash' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM access_tokens WHERE token_hash = g.value->>'token_hash')";

/// Which members' accounts are not what they rely on.
const ACCOUNT_GUARDS: &str = "
SELECT g.value->>'member' AS member, 'account' AS reason
FROM json_each($1) AS g LEFT JOIN users AS u ON u.user_id = g.value->>'user_id'
WHERE CASE g.value->>'expected'
    WHEN 'absent' THEN u.user_id IS NOT NULL
    WHEN 'password' THEN coalesce(u.deactivated, 1) <> 0
        OR u.password_hash IS NOT g.value->>'password_hash'
    WHEN 'devices' THEN EXISTS (SELECT 1 FROM devices d WHERE d.user_id = g.value->>'user_id'
        AND d.device_id NOT IN (SELECT value FROM json_each(g.value, '$.devices')))
    ELSE coalesce(u.deactivated, 1) <> 0 END";

/// The head of the log, and the last link of the audit chain.
const AUDIT_HEAD: &str = "
SELECT (SELECT coalesce(max(last_pos), 0) FROM log_batches),
    (SELECT link FROM audit_chain ORDER BY pos DESC LIMIT 1)";

const AUDIT_ENTRIES: &str = "
INSERT INTO audit_log (pos, n, entry)
SELECT (SELECT max(last_pos) FROM log_batches), key, value FROM json_each($1)";

const AUDIT_LINK: &str = "
INSERT INTO audit_chain (pos, link) SELECT max(last_pos), $1 FROM log_batches";

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
FROM json_each($1)"],
        Table::Rooms => &["
INSERT INTO rooms (nid, room_id, version, created_ms, extremities, state_root, state_pos, head_pos,
    joined, invited)
SELECT value->>'nid', value->>'room_id', value->>'version', value->>'created_ms', '[]', 0, 0, 0, 0, 0
FROM json_each($1)"],
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
        // What was authenticated by the old password counts no more.
        Table::AccountUpdates => &[
            "
UPDATE users SET
    password_hash = coalesce(u.value->>'password_hash', users.password_hash),
    admin = coalesce(u.value->>'admin', users.admin),
    deactivated = coalesce(u.value->>'deactivated', users.deactivated)
FROM json_each($1) AS u
WHERE users.user_id = u.value->>'user_id'",
            "
DELETE FROM interactive_auth_sessions WHERE requester IN (
    SELECT value->>'user_id' FROM json_each($1)
    WHERE value->>'password_hash' IS NOT NULL OR value->>'deactivated' = 1)",
        ],
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
        // That there was one is remembered, and its device stays.
        Table::SessionEnds => &[
            "
UPDATE sessions SET ended_ms = e.value->>'ended_ms'
FROM json_each($1) AS e
WHERE sessions.session_id = e.value->>'session_id'",
            "
DELETE FROM access_tokens WHERE session_id IN (SELECT value->>'session_id' FROM json_each($1))",
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
INSERT INTO devices (user_id, device_id, display_name, created_ms, generation)
SELECT value->>'user_id', value->>'device_id', value->>'display_name', value->>'created_ms', $2 + 1
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
        // A token that was refreshed from another replaces those that were refreshed from it before.
        // None of them was ever used.
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
        Table::DeviceChanges => &[
            "
INSERT INTO device_changes (pos, user_id, device_id, kind, prev_pos)
SELECT $2 + (value->>'pos'), value->>'user_id', value->>'device_id', value->>'kind', coalesce(
    $2 + lag(value->>'pos') OVER (PARTITION BY value->>'user_id' ORDER BY value->>'pos'),
    (SELECT max(pos) FROM device_changes WHERE user_id = value->>'user_id'))
FROM json_each($1)",
            "
DELETE FROM device_changes WHERE pos IN (
    SELECT pos FROM (
        SELECT pos, row_number() OVER (PARTITION BY user_id ORDER BY pos DESC) AS age
        FROM device_changes
        WHERE user_id IN (SELECT value->>'user_id' FROM json_each($1)))
    WHERE age > 100)",
        ],
    }
}
