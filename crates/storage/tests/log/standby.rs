//! With a synchronous standby, nothing is acknowledged that only the primary has, neither writes
//! nor reads, whatever happens in between.

use std::{future::Future, time::Duration};

use stoa_storage::{Conn, Result, Store};
use stoa_testing::{TestDatabase, TestNode, TestPostgres, sample};

use crate::{ROOM, write};

/// How long to wait for something that must not come, and otherwise would come at once.
const WHILE: Duration = Duration::from_secs(4);

/// How long to wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn count(store: &Store, sql: &'static str) -> Result<i64> {
    Ok(store.read().await?.one::<(i64,)>(sql, &[]).await?.0)
}

/// Waits for a count. If the standby may be missing, the session must already be open, because a
/// new one would wait for the standby.
async fn until(session: &mut Conn, sql: &'static str, is_it: impl Fn(i64) -> bool) {
    let is_so = async {
        while !is_it(session.one::<(i64,)>(sql, &[]).await.unwrap().0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_so).await.expect("it comes");
}

/// Asserts that a query is not answered for now.
async fn unanswered<T: std::fmt::Debug>(what: &str, question: impl Future<Output = Result<T>>) {
    if let Ok(Ok(answer)) = tokio::time::timeout(WHILE, question).await {
        panic!("{what} was answered by what the standby does not have: {answer:?}");
    }
}

const EVENTS: &str = "SELECT COUNT(*) FROM events";
const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Makes commits wait for the standby, which is there.
async fn wait_for_standby(store: &Store) {
    let mut conn = store.read().await.unwrap();
    conn.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'", &[]).await.unwrap();
    conn.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    let standbys = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    until(&mut conn, standbys, |count| count > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_that_only_a_restarted_primary_has() {
    let Some(primary) = TestPostgres::start().await else { return };
    let db = TestDatabase::on_server(&primary.url()).await;
    // Dropped in this order, because without its standby the server does not drop a database.
    let (db, mut primary) = (db, primary);
    let (node, other) = (TestNode::start(&db).await, TestNode::start(&db).await);
    let mut standby = primary.standby().await;
    wait_for_standby(&node.store).await;
    write(&node, sample::creation(ROOM)).await;
    other.freshness.current().await.unwrap();

    let mut watching = other.store.read().await.unwrap();
    standby.stop_immediately();
    let pending = node.writer.enqueue(sample::message(1, ROOM)).unwrap();
    until(&mut watching, WAITING, |count| count > 0).await;
    let (events,): (i64,) = watching.one(EVENTS, &[]).await.unwrap();
    assert_eq!(events, 0, "nobody sees it yet");
    drop(watching);

    primary.kill();
    primary.restart().await;
    // The primary has recovered the event, and makes it visible.
    let mut answer = std::pin::pin!(pending.wait());
    tokio::join!(
        async {
            let answer = tokio::time::timeout(WHILE, &mut answer).await;
            assert!(answer.is_err(), "the append was answered: {answer:?}");
        },
        unanswered("a reader", count(&other.store, EVENTS)),
        unanswered("a snapshot", async {
            other.store.snapshot().await?.one::<(i64,)>(EVENTS, &[]).await
        }),
        unanswered("the log's reader", other.freshness.current()),
    );

    standby.restart().await;
    let appended = answer.await.unwrap();
    let current = async {
        loop {
            // Whatever hung meanwhile may fail once more.
            if let Ok(current) = other.freshness.current().await {
                break current;
            }
        }
    };
    let current = tokio::time::timeout(PATIENCE, current).await.expect("it comes");
    assert!(current >= appended.last());

    // Everything that was answered still exists if the primary is lost now.
    standby.take_over(primary).await;
    let store = db.open().await;
    assert_eq!(count(&store, EVENTS).await.unwrap(), 1);
}

/// While the standby is missing, each attempt to connect would leave behind a session that nothing
/// ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_standby_does_not_use_up_the_sessions_of_the_server() {
    let Some(primary) = TestPostgres::start().await else { return };
    let db = TestDatabase::on_server(&primary.url()).await;
    // Dropped in this order, because without its standby the server does not drop a database.
    let (db, mut primary) = (db, primary);
    let node = TestNode::start(&db).await;
    write(&node, sample::creation(ROOM)).await;
    let mut standby = primary.standby().await;
    wait_for_standby(&node.store).await;
    let watcher = db.open().await;
    let mut watching = watcher.read().await.unwrap();
    standby.stop_immediately();
    for _ in 0..20 {
        let store = db.open().await;
        let _ = tokio::time::timeout(Duration::from_millis(100), store.read()).await;
    }
    let (waiting,): (i64,) = watching.one(WAITING, &[]).await.unwrap();
    assert_eq!(waiting, 1, "one session hangs, and the others wait for it and give up");
    let locks = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    until(&mut watching, locks, |count| count == 0).await;
    primary.stop_immediately();
}
