//! What is pruned from the log, and what is kept.

use serde_json::{Value, json};
use stoa_base::Pos;
use stoa_storage::{
    Error, Store,
    log::{self, BatchKey, LogReader, Mark, News},
};
use stoa_testing::{
    Backend, TestDatabase, TestNode, both_databases, run_on, sample,
    surgery::{prune_log, take_lease},
};

use crate::{ROOM, write};

async fn positions(store: &Store) -> Vec<i64> {
    let sql = "SELECT last_pos FROM log_batches ORDER BY last_pos";
    let rows: Vec<(i64,)> = store.read().await.unwrap().all(sql, &[]).await.unwrap();
    rows.into_iter().map(|(pos,)| pos).collect()
}

/// Makes every batch as old as its position.
async fn age(store: &Store) {
    let mut conn = store.write().await.unwrap();
    conn.execute("UPDATE log_batches SET committed_ms = last_pos", &[]).await.unwrap();
    conn.commit().await.unwrap();
}

/// Two runs of nodes, each with three batches.
async fn two_runs(db: &TestDatabase) -> [TestNode; 2] {
    let first = TestNode::start(db).await;
    for nid in 1..=3 {
        write(&first, sample::message(nid, ROOM)).await;
    }
    let second = TestNode::start(db).await;
    for nid in 4..=6 {
        write(&second, sample::message(nid, ROOM)).await;
    }
    age(&second.store).await;
    [first, second]
}

both_databases! {
    async fn old_batches_are_deleted_except_the_last_of_each_run(db: TestDatabase) {
        let [_, node] = two_runs(db).await;
        assert_eq!(prune_log(&node.store, 2).await.unwrap(), 1);
        assert_eq!(positions(&node.store).await, [2, 3, 4, 5, 6]);
        assert_eq!(prune_log(&node.store, 1_000).await.unwrap(), 3);
        assert_eq!(positions(&node.store).await, [3, 6]);
        assert_eq!(prune_log(&node.store, 1_000).await.unwrap(), 0);
    }

    async fn a_node_whose_lease_another_has_taken_prunes_nothing(db: TestDatabase) {
        let [_, node] = two_runs(db).await;
        let frozen = take_lease(&node.store, "pruning", 0).await.unwrap();
        let successor = take_lease(&node.store, "pruning", 60_000).await.unwrap();
        let pruned = log::prune(&node.store, &frozen, 1_000).await;
        assert!(matches!(pruned, Err(Error::LeaseLost)), "{pruned:?}");
        assert_eq!(positions(&node.store).await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(log::prune(&node.store, &successor, 1_000).await.unwrap(), 4);
    }

    async fn many_batches_are_pruned_page_by_page_and_jumps_stay(db: TestDatabase) {
        let store = db.store().await;
        let node = TestNode::start_on(store.clone(), Default::default()).await;
        write(&node, sample::message(1, ROOM)).await;
        let head = log::head_mark(&mut store.read().await.unwrap()).await.unwrap();
        let jump = log::raise(&store, Pos(5), &[head]).await.unwrap().pos;
        let mut conn = store.write().await.unwrap();
        let series = conn.either(
            "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < 2500)
             INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
             SELECT $1 + n, $1 + n - 1, 77, n, 0, '[]' FROM series",
            "INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
             SELECT $1 + n, $1 + n - 1, 77, n, 0, '[]' FROM generate_series(1, 2500) AS n",
        );
        conn.execute(series, &[jump.0.into()]).await.unwrap();
        conn.execute("UPDATE log_batches SET committed_ms = 0", &[]).await.unwrap();
        conn.commit().await.unwrap();
        assert_eq!(prune_log(&store, 1_000).await.unwrap(), 2_499);
        assert_eq!(positions(&store).await, [1, jump.0, jump.0 + 2_500]);
    }

    async fn a_reader_behind_what_was_pruned_finds_a_gap(db: TestDatabase) {
        let [_, node] = two_runs(db).await;
        prune_log(&node.store, 1_000).await.unwrap();
        let mut reader = LogReader::new(node.store.clone());
        // Batch 3 exists and follows what the reader knows; 4 and 5 are gone.
        for behind in [1, 2, 3, 4] {
            let news = reader.after(mark(behind, None), 100).await.unwrap();
            assert!(matches!(news, News::Gap { head } if head.pos == Pos(6)), "{behind}: {news:?}");
        }
        let news = reader.after(mark(5, None), 100).await.unwrap();
        assert!(matches!(news, News::Batches(batches) if batches.len() == 1));
    }
}

/// A place where the batch `seq` of a run ends, or an unknown batch.
fn mark(pos: i64, key: Option<(i64, i64)>) -> Mark {
    Mark { pos: Pos(pos), key: key.map(|(incarnation, seq)| BatchKey { incarnation, seq }) }
}

both_databases! {
    async fn pruned_batches_are_distinguished_from_lost_ones(db: TestDatabase) {
        let [first, second] = two_runs(db).await;
        prune_log(&second.store, 1_000).await.unwrap();
        let mut reader = LogReader::new(second.store.clone());
        let (one, two) = (first.incarnation, second.incarnation);
        for there in [(3, one, 3), (6, two, 3)] {
            let news = reader.after(mark(there.0, Some((there.1, there.2))), 100).await.unwrap();
            assert!(!matches!(news, News::Lost { .. }), "{there:?}: {news:?}");
        }
        for pruned in [(1, one, 1), (4, two, 1), (5, two, 2)] {
            let news = reader.after(mark(pruned.0, Some((pruned.1, pruned.2))), 100).await.unwrap();
            assert!(!matches!(news, News::Lost { .. }), "{pruned:?}: {news:?}");
        }
        // Another batch ends there; the run has no later batch, or only an earlier one; a jump.
        for lost in [(3, one, 2), (6, one, 3), (5, one, 4), (4, one, 2), (5, 0, 5), (9, two, 4)] {
            let news = reader.after(mark(lost.0, Some((lost.1, lost.2))), 100).await.unwrap();
            assert!(matches!(news, News::Lost { head: Pos(6) }), "{lost:?}: {news:?}");
            if second.store.backend() == Backend::Postgres {
                let sql = "SELECT log_has_lost($1, $2, $3)::int::bigint";
                let mut conn = second.store.read().await.unwrap();
                let (is_lost,): (bool,) =
                    conn.one(sql, &[lost.0.into(), lost.1.into(), lost.2.into()]).await.unwrap();
                assert!(is_lost, "{lost:?}");
            }
        }
    }
}

/// A node was frozen while it did not know the outcome of its last batch. When it wakes up, it
/// writes the batch again under the same key.
#[test]
fn a_node_that_wakes_after_the_pruning_writes_nothing_twice() {
    run_on(Backend::Postgres, async |db| {
        let [first, second] = two_runs(db).await;
        prune_log(&second.store, 1_000).await.unwrap();
        let again = json!({
            "incarnation": first.incarnation, "seq": 3, "now_ms": 0, "seen": 2, "positions": 1,
            "touched": [],
        });
        let mut conn = second.store.write().await.unwrap();
        let sql = "SELECT append_batch($1::text::jsonb)::text";
        let (answer,): (String,) = conn.one(sql, &[(&again.to_string()).into()]).await.unwrap();
        conn.commit().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["prev"], &answer["last"]), (&json!(2), &json!(3)));
        assert_eq!(positions(&second.store).await, [3, 6]);
    });
}
