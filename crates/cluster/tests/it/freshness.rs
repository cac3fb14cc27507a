//! An append acknowledged on one node is seen on another at once, even without announcements.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper};
use stoa_testing::{
    Backend, PostgresProxy, TestNode, TestNodeOptions, both_databases, run_on, sample,
};

use crate::{ROOM, SILENT, Told, node, soon};

both_databases! {
    async fn a_node_sees_its_own_writes_at_once(db: TestDatabase) {
        let (node, recorder) = node(db, SILENT).await;
        for nid in 1..=10 {
            let appended = node.writer.append(sample::message(nid, ROOM)).await.unwrap();
            assert_eq!(soon(node.freshness.current()).await.unwrap(), appended.last());
            let batch = Told::Batch { prev: Pos(nid - 1), last: Pos(nid), is_own: true };
            assert_eq!(recorder.take(), [batch]);
        }
    }
}

#[test]
fn an_acknowledged_append_is_seen_on_another_node_without_announcements() {
    run_on(Backend::Postgres, async |db| {
        let ((one, _), (other, recorder)) = (node(db, SILENT).await, node(db, SILENT).await);
        for nid in 1..=50 {
            let appended = one.writer.append(sample::message(nid, ROOM)).await.unwrap();
            assert!(soon(other.freshness.current()).await.unwrap() >= appended.last());
            let batch = Told::Batch { prev: Pos(nid - 1), last: Pos(nid), is_own: false };
            assert_eq!(recorder.take(), [batch], "the caches know before the request goes on");
        }
    });
}

#[test]
fn concurrent_requests_all_see_what_was_acknowledged_before_them() {
    run_on(Backend::Postgres, async |db| {
        let ((one, _), (other, _)) = (node(db, SILENT).await, node(db, SILENT).await);
        let mut asking = tokio::task::JoinSet::new();
        for nid in 1..=100 {
            let (one, other) = (one.clone(), other.clone());
            asking.spawn(async move {
                let appended = one.writer.append(sample::message(nid, ROOM)).await.unwrap();
                let current = soon(other.freshness.current()).await.unwrap();
                assert!(current >= appended.last(), "{current} is before {}", appended.last());
            });
        }
        asking.join_all().await;
    });
}

#[test]
fn a_request_waits_for_the_batch_that_its_node_is_writing() {
    run_on(Backend::Postgres, async |db| {
        let (neighbour, _) = node(db, SILENT).await;
        let proxy = PostgresProxy::start(db.url()).await;
        let (node, recorder) = node_at(proxy.url()).await;
        let call = proxy.catch();
        let pending = node.writer.enqueue(sample::message(1, ROOM)).unwrap();
        let reply = soon(call).await.until_reply().await;
        // The batch exists, but its writer has not been told.
        assert_eq!(soon(neighbour.freshness.current()).await.unwrap(), Pos(1));
        let freshness = node.freshness.clone();
        let asking = tokio::spawn(async move { freshness.current().await });
        assert_eq!(soon(node.tailer.catch_up()).await.unwrap(), Pos(1));
        assert_eq!((node.tailer.applied(), recorder.take()), (Pos::START, Vec::new()));
        assert!(!asking.is_finished());

        reply.pass_on().await;
        assert_eq!(soon(asking).await.unwrap().unwrap(), Pos(1));
        soon(pending.wait()).await.unwrap();
        let batch = Told::Batch { prev: Pos::START, last: Pos(1), is_own: true };
        assert_eq!(recorder.take(), [batch], "it is applied once, with its appends");
    });
}

async fn node_at(url: &str) -> (TestNode, Arc<crate::Recorder>) {
    let options =
        stoa_storage::Options { url: url.to_owned(), direct_url: None, max_connections: 4 };
    let store = stoa_storage::Store::open(&options).await.unwrap();
    let recorder = Arc::new(crate::Recorder::default());
    let caches = vec![Arc::clone(&recorder) as Arc<dyn CacheKeeper>];
    let options = TestNodeOptions { caches, tailer: SILENT, ..TestNodeOptions::default() };
    let node = TestNode::start_on(store, options).await;
    recorder.take();
    (node, recorder)
}

/// A cache with a bug that panics once.
#[derive(Debug, Default)]
struct PanicsOnce(AtomicBool);

impl CacheKeeper for PanicsOnce {
    fn apply(&self, _: Batch<'_>) {
        assert!(self.0.swap(true, Ordering::Relaxed), "on purpose");
    }

    fn clear(&self, _: Pos) {}
}

#[test]
fn a_cache_that_panics_fails_waiting_requests_but_no_later_ones() {
    run_on(Backend::Postgres, async |db| {
        let (one, _) = node(db, SILENT).await;
        let caches: Vec<Arc<dyn CacheKeeper>> = vec![Arc::new(PanicsOnce::default())];
        let options = TestNodeOptions { caches, tailer: SILENT, ..TestNodeOptions::default() };
        let other = TestNode::start_with(db, options).await;
        let appended = one.writer.append(sample::message(1, ROOM)).await.unwrap();
        soon(other.freshness.current()).await.unwrap_err();
        assert_eq!(soon(other.freshness.current()).await.unwrap(), appended.last());
    });
}
