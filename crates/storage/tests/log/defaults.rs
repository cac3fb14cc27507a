//! The guarantees that writes rely on hold whatever the defaults of the role and the database are.

use serde_json::json;
use stoa_base::RoomNid;
use stoa_storage::Store;
use stoa_testing::{Backend, TestDatabase, TestNode, TestPostgres, run_on, sample};
use tokio::task::JoinSet;

use crate::{
    ROOM,
    witness::{self, Told},
    write,
};

/// Changes the defaults of sessions that are opened from now on.
async fn set(db: &TestDatabase, statements: &[&'static str]) {
    let store = db.open().await;
    let mut conn = store.read().await.unwrap();
    for sql in statements {
        conn.execute(sql, &[]).await.unwrap();
    }
    drop(conn);
    store.close().await;
}

async fn setting(store: &Store, name: &str) -> String {
    let mut conn = store.write().await.unwrap();
    conn.one::<(String,)>("SELECT current_setting($1)", &[name.into()]).await.unwrap().0
}

const REPEATABLE_READ_DATABASE: &str = "
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''',
            current_database());
    END $$";
const ASYNC_ROLE: [&str; 2] = [
    "ALTER ROLE postgres SET synchronous_commit = 'off'",
    "ALTER ROLE postgres SET default_transaction_isolation = 'serializable'",
];
const ASYNC_DATABASE: [&str; 2] = [
    "ALTER ROLE postgres RESET synchronous_commit",
    "
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET synchronous_commit = ''off''', current_database());
    END $$",
];

#[test]
fn no_position_is_given_out_twice_under_another_isolation() {
    run_on(Backend::Postgres, async |db| {
        set(db, &[REPEATABLE_READ_DATABASE]).await;
        let nodes = [TestNode::start(db).await, TestNode::start(db).await];
        write(&nodes[0], sample::creation(ROOM)).await;
        let mut calling = JoinSet::new();
        for caller in 1..=20 {
            let node = nodes[usize::try_from(caller).unwrap() % 2].clone();
            calling.spawn(async move {
                let mut told = Told::default();
                for count in 1..=20 {
                    let nid = witness::nid(caller, count);
                    told.add(nid, &node.writer.append(witness::append(ROOM, nid)).await);
                }
                told
            });
        }
        let mut told = Told::default();
        for part in calling.join_all().await {
            told.extend(part);
        }
        assert!(told.not_written.is_empty() && told.unknown.is_empty(), "{told:?}");
        let found = witness::find(&nodes[0].store, ROOM).await;
        told.check(&found);
        witness::check_log(&nodes[0].store, found.len(), 1).await;
        assert_eq!(setting(&nodes[0].store, "transaction_isolation").await, "read committed");
    });
}

/// Uses a session without any settings, as one behind a transaction pooler may be.
#[test]
fn an_append_under_another_isolation_is_refused() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let batch = json!({
            "incarnation": 1, "seq": 1, "now_ms": 0, "seen": 0, "positions": 1, "touched": [],
        });
        // An isolation level that reads from a snapshot.
        let mut conn = store.snapshot().await.unwrap();
        let sql = "SELECT append_batch($1::text::jsonb)::text";
        let refused = conn.one::<(String,)>(sql, &[(&batch.to_string()).into()]).await.unwrap_err();
        assert!(refused.to_string().contains("READ COMMITTED"), "{refused}");
    });
}

#[test]
fn a_stronger_durability_setting_is_kept() {
    run_on(Backend::Postgres, async |db| {
        set(
            db,
            &["
            DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET synchronous_commit = ''remote_apply''',
                    current_database());
            END $$"],
        )
        .await;
        let store = db.store().await;
        assert_eq!(setting(&store, "synchronous_commit").await, "remote_apply");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_crash_whatever_the_role_defaults_are() {
    let Some(mut server) = TestPostgres::start().await else { return };
    let db = TestDatabase::on_server(&server.url()).await;
    // Nothing is flushed in the background meanwhile.
    set(
        &db,
        &[
            "ALTER SYSTEM SET wal_writer_delay = '10s'",
            "ALTER SYSTEM SET wal_writer_flush_after = '1GB'",
            "ALTER SYSTEM SET checkpoint_timeout = '1h'",
            "ALTER SYSTEM SET autovacuum = off",
        ],
    )
    .await;
    for (round, defaults) in [ASYNC_ROLE, ASYNC_DATABASE].into_iter().enumerate() {
        set(&db, &defaults).await;
        crash(&mut server).await;
        let written = i64::try_from(round).unwrap() + 1;
        let node = TestNode::start(&db).await;
        // Drawn from the counter, so that a write other than an append is covered too.
        let drawn = node.nids.take(1).await.unwrap().start;
        crash(&mut server).await;
        let node = TestNode::start(&db).await;
        let next = node.nids.take(1).await.unwrap().start;
        assert!(next > drawn, "a write is lost under {defaults:?}");

        write(&node, sample::creation(RoomNid(written))).await;
        crash(&mut server).await;
        let store = db.open().await;
        let sql = "SELECT COUNT(*) FROM rooms";
        let (rooms,): (i64,) = store.read().await.unwrap().one(sql, &[]).await.unwrap();
        assert_eq!(rooms, written, "an append is lost under {defaults:?}");
        assert_eq!(setting(&store, "synchronous_commit").await, "on");
        store.close().await;
    }
}

async fn crash(server: &mut TestPostgres) {
    server.kill();
    server.restart().await;
}
