//! Opening a database, and data that is stored outside the log.

use std::{
    future::{Future as _, poll_fn},
    task::Poll,
};

use stoa_storage::{NidAllocator, OpenError, Options, Store, log};
use stoa_testing::{Backend, TestNode, both_databases, run_on, sample};

use crate::{ROOM, write};

/// A statement whose plan may depend on a bound value, as with any bound LIMIT, is planned once and
/// not each time.
#[test]
fn sqlite_does_not_replan_statements_for_other_values() {
    run_on(Backend::Sqlite, async |db| {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        let options: Vec<(String,)> = conn.all("PRAGMA compile_options", &[]).await.unwrap();
        assert!(options.iter().any(|(option,)| option == "ENABLE_QPSG"), "{options:?}");
    });
}

both_databases! {
    async fn a_caller_cancelled_while_a_transaction_begins_leaves_none_behind(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let store = Store::open(&Options { max_connections: 1, ..db.options() }).await.unwrap();
        let count = async || {
            let mut conn = store.read().await.unwrap();
            let (events,): (i64,) = conn.one("SELECT COUNT(*) FROM events", &[]).await.unwrap();
            events
        };
        for polls in 1..20 {
            {
                let mut beginning = std::pin::pin!(store.snapshot());
                for _ in 0..polls {
                    let once = poll_fn(|context| Poll::Ready(beginning.as_mut().poll(context)));
                    if once.await.is_ready() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_micros(100)).await;
                }
            }
            assert_eq!(count().await, polls - 1);
            write(&node, sample::message(polls, ROOM)).await;
            assert_eq!(count().await, polls, "what was written since is read");
        }
    }

    async fn a_database_belongs_to_the_server_name_that_claimed_it(db: TestDatabase) {
        let store = db.store().await;
        store.claim("one.test").await.unwrap();
        store.claim("one.test").await.unwrap();
        let error = store.claim("other.test").await.unwrap_err();
        assert!(matches!(&error, OpenError::ServerName { found, .. } if found == "one.test"));
    }

    async fn internal_numbers_are_given_out_once(db: TestDatabase) {
        let store = db.store().await;
        let (one, other) = (NidAllocator::new(store.clone()), NidAllocator::new(store));
        let mut taken = Vec::new();
        for _ in 0..3 {
            for nids in [&one, &other] {
                taken.extend(nids.take(7_000).await.unwrap());
                taken.extend(nids.take(1).await.unwrap());
            }
        }
        taken.extend(one.take(25_000).await.unwrap());
        let count = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), count);
        assert!(taken[0] > 0);
    }

    async fn discarded_numbers_are_not_given_out(db: TestDatabase) {
        let nids = NidAllocator::new(db.store().await);
        let before = nids.take(1).await.unwrap();
        nids.discard();
        let after = nids.take(1).await.unwrap();
        assert!(after.start > before.end + 1_000);
    }

    async fn each_run_of_a_node_has_a_larger_number_even_after_a_restore(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let first = log::new_incarnation(&mut conn).await.unwrap();
        let second = log::new_incarnation(&mut conn).await.unwrap();
        assert!(second > first);
        conn.execute("UPDATE counters SET value = 1 WHERE name = 'incarnation'", &[]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert!(log::new_incarnation(&mut conn).await.unwrap() > second);
    }

    async fn a_write_that_is_not_committed_leaves_nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let insert = "INSERT INTO deployment (name, value) VALUES ('a', 'b')";
        assert_eq!(conn.execute(insert, &[]).await.unwrap(), 1);
        drop(conn);
        let sql = "SELECT value FROM deployment WHERE name = 'a'";
        let row: Option<(String,)> = store.read().await.unwrap().optional(sql, &[]).await.unwrap();
        assert_eq!(row, None);
    }

    async fn the_databases_clock_is_the_time(db: TestDatabase) {
        let store = db.store().await;
        let before = stoa_base::Clock::system().now_ms();
        let now = store.read().await.unwrap().now_ms().await.unwrap();
        assert!((now - before).abs() < 10_000, "{now} is {before}");
    }

    async fn a_reader_cannot_write_in_a_snapshot(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.snapshot().await.unwrap();
        conn.execute("DELETE FROM deployment", &[]).await.unwrap_err();
    }
}
