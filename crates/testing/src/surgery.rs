//! What tests do to the database without the nodes' knowledge, and how they inspect it.

use stoa_base::{Pos, RoomNid};
use stoa_storage::{
    Conn, Result, Store,
    log::{self, Stream},
    repo::leases::{self, Fence},
};

/// Removes everything after `pos` from the log, as a restore does.
pub async fn lose_log_after(store: &Store, pos: Pos) {
    let mut conn = store.write().await.expect("the database answers");
    for sql in ["DELETE FROM log_batches WHERE last_pos > $1", "DELETE FROM events WHERE pos > $1"]
    {
        conn.execute(sql, &[pos.0.into()]).await.expect("a loss");
    }
    conn.commit().await.expect("a loss");
}

/// The run under which batches are written by hand: a node of some future version.
const ELSEWHERE: i64 = 9;

/// A room's row as it was, to be put back later.
#[derive(Debug)]
pub struct NotedRoom {
    nid: RoomNid,
    extremities: String,
    numbers: (i64, i64, i64, i64, i64),
}

/// Saves a room's row.
pub async fn note_room(store: &Store, nid: RoomNid) -> NotedRoom {
    let sql = "
        SELECT extremities, state_root, state_pos, head_pos, joined, invited
        FROM rooms WHERE nid = $1";
    let mut conn = store.read().await.expect("the database answers");
    let (extremities, root, state, head, joined, invited): (String, _, _, _, _, _) =
        conn.one(sql, &[nid.0.into()]).await.expect("the room");
    NotedRoom { nid, extremities, numbers: (root, state, head, joined, invited) }
}

/// Puts a saved room row back, as a restore does.
pub async fn put_room_back(store: &Store, room: &NotedRoom) {
    let sql = "
        UPDATE rooms SET extremities = $2, state_root = $3, state_pos = $4, head_pos = $5,
            joined = $6, invited = $7
        WHERE nid = $1";
    let (root, state, head, joined, invited) = room.numbers;
    let binds = [
        room.nid.0.into(),
        (&room.extremities).into(),
        root.into(),
        state.into(),
        head.into(),
        joined.into(),
        invited.into(),
    ];
    let mut conn = store.write().await.expect("the database answers");
    conn.execute(sql, &binds).await.expect("the room");
    conn.commit().await.expect("the room");
}

/// Writes a batch as another node would: it says that it `touched` this, and `sql` runs with it.
pub async fn write_elsewhere(store: &Store, touched: &str, sql: &'static str) {
    let batch = "
        INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
        SELECT MAX(last_pos) + 1, MAX(last_pos), $1, MAX(last_pos), 1, $2 FROM log_batches";
    let mut conn = store.write().await.expect("the database answers");
    conn.execute(sql, &[]).await.expect("a change");
    conn.execute(batch, &[ELSEWHERE.into(), touched.into()]).await.expect("a batch");
    conn.commit().await.expect("a batch");
}

/// Resets the counter of internal numbers.
pub async fn lose_drawn_numbers(store: &Store) {
    let mut conn = store.write().await.expect("the database answers");
    conn.execute("UPDATE counters SET value = 1 WHERE name = 'nid'", &[]).await.expect("a loss");
    conn.commit().await.expect("a loss");
}

/// The number of batches in the log.
pub async fn batch_count(store: &Store) -> i64 {
    let mut conn = store.read().await.expect("the database answers");
    conn.one::<(i64,)>("SELECT COUNT(*) FROM log_batches", &[]).await.expect("a number").0
}

/// Writes one batch of another PostgreSQL node for each of these positions.
pub async fn write_batches_elsewhere(store: &Store, positions: std::ops::RangeInclusive<i64>) {
    let sql = "
        INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
        SELECT pos, pos - 1, 9, pos, 1, '[]' FROM generate_series($1, $2) AS pos";
    let mut conn = store.write().await.expect("the database answers");
    let range = [(*positions.start()).into(), (*positions.end()).into()];
    conn.execute(sql, &range).await.expect("batches");
    conn.commit().await.expect("batches");
}

/// Adds a node that has been silent for this long.
pub async fn note_silent_node(store: &Store, incarnation: i64, silent_ms: i64) {
    let sql = "
        INSERT INTO nodes (incarnation, version, started_ms, heartbeat_ms)
        VALUES ($1, '0.0.1', $2, $2)";
    let mut conn = store.write().await.expect("the database answers");
    let heard_ms = conn.now_ms().await.expect("the time") - silent_ms;
    conn.execute(sql, &[incarnation.into(), heard_ms.into()]).await.expect("a node");
    conn.commit().await.expect("a node");
}

/// The recorded nodes, the oldest first.
pub async fn noted_nodes(store: &Store) -> Vec<i64> {
    let sql = "SELECT incarnation FROM nodes ORDER BY incarnation";
    let mut conn = store.read().await.expect("the database answers");
    let rows: Vec<(i64,)> = conn.all(sql, &[]).await.expect("nodes");
    rows.into_iter().map(|(incarnation,)| incarnation).collect()
}

/// For [`write_elsewhere`]: changes nothing besides the log.
pub const NOTHING: &str = "SELECT 1";

/// For [`write_elsewhere`]: Bob leaves every room.
pub const BOB_LEAVES: &str =
    "UPDATE memberships SET membership = 'leave' WHERE user_id = '@bob:test'";

/// For [`write_elsewhere`]: replaces "before" by "after" in events.
pub const REWRITE_EVENTS: &str = r#"
    UPDATE events SET json = replace(json, '"before"', '"after"') WHERE json LIKE '%"before"%'"#;

/// Writes a row by which a test can see whether a transaction was committed.
pub async fn mark(conn: &mut Conn, name: &str) -> Result<()> {
    let sql = "INSERT INTO deployment (name, value) VALUES ($1, '')";
    conn.execute(sql, &[name.into()]).await.map(drop)
}

/// Whether the row with this name was written.
pub async fn is_marked(store: &Store, name: &str) -> bool {
    let sql = "SELECT COUNT(*) FROM deployment WHERE name = $1";
    let mut conn = store.read().await.expect("the database answers");
    conn.one::<(i64,)>(sql, &[name.into()]).await.expect("a number").0 == 1
}

/// Deletes all leases, as a restore does.
pub async fn lose_leases(store: &Store) {
    let mut conn = store.write().await.expect("the database answers");
    conn.execute("DELETE FROM leases", &[]).await.expect("a loss");
    conn.commit().await.expect("a loss");
}

/// The names of the existing leases, in order.
pub async fn leases(store: &Store) -> Vec<String> {
    let mut conn = store.read().await.expect("the database answers");
    let rows: Vec<(String,)> =
        conn.all("SELECT name FROM leases ORDER BY name", &[]).await.expect("leases");
    rows.into_iter().map(|(name,)| name).collect()
}

/// Makes a job look as if it had ended at the Unix epoch.
pub async fn end_job_long_ago(store: &Store, id: i64) {
    let mut conn = store.write().await.expect("the database answers");
    let sql = "UPDATE jobs SET finished_ms = 1 WHERE id = $1";
    conn.execute(sql, &[id.into()]).await.expect("a job");
    conn.commit().await.expect("a job");
}

/// Makes every job look as if it had been begun so many times by nodes that are gone.
pub async fn begin_jobs(store: &Store, attempts: i64) {
    let mut conn = store.write().await.expect("the database answers");
    let sql = "UPDATE jobs SET attempts = $1, state = 'running'";
    conn.execute(sql, &[attempts.into()]).await.expect("jobs");
    conn.commit().await.expect("jobs");
}

/// How often a user's membership has changed, in all rooms together.
pub async fn membership_change_count(store: &Store, user_id: &str) -> i64 {
    let sql = "
        SELECT COUNT(*) FROM state_changes WHERE type = 'm.room.member' AND state_key = $1";
    let mut conn = store.read().await.expect("the database answers");
    conn.one::<(i64,)>(sql, &[user_id.into()]).await.expect("a number").0
}

/// Whether a standby has received everything that this PostgreSQL server has written.
pub async fn has_standby_caught_up(conn: &mut Conn) -> bool {
    let sql = "SELECT COUNT(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
    conn.one::<(i64,)>(sql, &[]).await.expect("a number").0 > 0
}

/// Joins users `@u0:test` and so on to many rooms each, which do not exist.
pub async fn fill_memberships(store: &Store, users: i64, rooms: i64) {
    let sql = "
        INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $1 * $2 - 1)
        SELECT '@u' || (i / $2) || ':test', 1000000 + i % $2, 'join', i, '@u:test', 1 FROM n";
    let mut conn = store.write().await.expect("the database answers");
    conn.execute(sql, &[users.into(), rooms.into()]).await.expect("memberships");
    conn.commit().await.expect("memberships");
}

/// Makes every session end at this time.
pub async fn end_sessions_at(store: &Store, ends_ms: i64) {
    let mut conn = store.write().await.expect("the database answers");
    conn.execute("UPDATE sessions SET expires_ms = $1", &[ends_ms.into()]).await.expect("an end");
    conn.commit().await.expect("an end");
}

/// The hashes of all access tokens.
pub async fn token_hashes(store: &Store) -> Vec<String> {
    let mut conn = store.read().await.expect("the database answers");
    let sql = "SELECT token_hash FROM access_tokens";
    let rows: Vec<(String,)> = conn.all(sql, &[]).await.expect("hashes");
    rows.into_iter().map(|(hash,)| hash).collect()
}

/// The entries of the audit log as JSON, the oldest first.
pub async fn audit_entries(store: &Store) -> Vec<String> {
    let mut conn = store.read().await.expect("the database answers");
    let sql = "SELECT entry FROM audit_log ORDER BY pos, n";
    let rows: Vec<(String,)> = conn.all(sql, &[]).await.expect("entries");
    rows.into_iter().map(|(entry,)| entry).collect()
}

/// Tampers with the audit log: replaces `from` by `to` in each entry.
pub async fn falsify_audit(store: &Store, from: &str, to: &str) {
    let mut conn = store.write().await.expect("the database answers");
    let sql = "UPDATE audit_log SET entry = replace(entry, $1, $2)";
    conn.execute(sql, &[from.into(), to.into()]).await.expect("a lie");
    conn.commit().await.expect("a lie");
}

/// Deletes the last link of the audit chain, with its entries.
pub async fn cut_audit_off(store: &Store) {
    let mut conn = store.write().await.expect("the database answers");
    for sql in [
        "DELETE FROM audit_log WHERE pos = (SELECT MAX(pos) FROM audit_chain)",
        "DELETE FROM audit_chain WHERE pos = (SELECT MAX(pos) FROM audit_chain)",
    ] {
        conn.execute(sql, &[]).await.expect("a loss");
    }
    conn.commit().await.expect("a loss");
}

/// Takes a lease for a node that does not renew it; `None` if somebody holds it.
pub async fn take_lease(store: &Store, name: &str, ttl_ms: i64) -> Option<Fence> {
    let mut conn = store.write().await.expect("the database answers");
    let fence = leases::acquire(&mut conn, name, 0, 7, ttl_ms).await.expect("a lease or none");
    conn.commit().await.expect("a lease or none");
    fence
}

/// Prunes the log under a lease of its own.
pub async fn prune_log(store: &Store, before_ms: i64) -> Result<u64> {
    let lease = take_lease(store, "test pruning", 60_000).await.expect("a lease");
    let pruned = log::prune(store, &lease, before_ms).await;
    let mut conn = store.write().await?;
    leases::release(&mut conn, &lease).await?;
    conn.commit().await?;
    pruned
}

/// Makes all nodes but the oldest lack a stream: a trigger renames the stream in what that one
/// writes to a word that nobody knows.
pub async fn hide_stream(store: &Store, stream: Stream) {
    let stream = serde_json::to_value(stream).expect("a name");
    let function = "
        CREATE FUNCTION hide_streams() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.incarnation = (SELECT min(incarnation) FROM nodes) THEN
                SELECT replace(NEW.touched, format('\"%s\"', name), '\"rockets\"') INTO NEW.touched
                FROM hidden_streams;
            END IF;
            RETURN NEW;
        END $$";
    let trigger = "
        CREATE TRIGGER hide_streams BEFORE INSERT ON log_batches
        FOR EACH ROW EXECUTE FUNCTION hide_streams()";
    let mut conn = store.write().await.expect("the database answers");
    conn.execute("CREATE TABLE hidden_streams (name TEXT)", &[]).await.expect("a table");
    let insert = "INSERT INTO hidden_streams VALUES ($1)";
    conn.execute(insert, &[stream.as_str().into()]).await.expect("a row");
    conn.execute(function, &[]).await.expect("a function");
    conn.execute(trigger, &[]).await.expect("a trigger");
    conn.commit().await.expect("a trigger");
}

/// The number of batches that name a hidden stream.
pub async fn hidden_batches(store: &Store) -> i64 {
    let sql = "SELECT count(*) FROM log_batches WHERE touched LIKE '%\"rockets\"%'";
    let mut conn = store.read().await.expect("the database answers");
    let (count,) = conn.one(sql, &[]).await.expect("a number");
    count
}
