//! The parts of one node, put together as the server does it.

use std::sync::Arc;

use stoa_base::Clock;
use stoa_cluster::{CacheKeeper, Freshness, Tailer, TailerOptions, Waiters};
use stoa_storage::{
    NidAllocator, Store,
    log::{self, Writer, WriterOptions},
};

use crate::TestDatabase;

/// The differences between a test's node and a server's.
#[derive(Clone, Default)]
pub struct TestNodeOptions {
    /// The caches that follow the log.
    pub caches: Vec<Arc<dyn CacheKeeper>>,
    /// The limits of the writer.
    pub writer: WriterOptions,
    /// The settings of the tailer.
    pub tailer: TailerOptions,
    /// The clock; `None` for the system's.
    pub clock: Option<Clock>,
}

/// A node: its log writer and its log reader. Two of them on one PostgreSQL database are two nodes
/// of one deployment.
#[derive(Clone, Debug)]
pub struct TestNode {
    /// The number of this node's run.
    pub incarnation: i64,
    /// The database.
    pub store: Store,
    /// The log writer.
    pub writer: Writer,
    /// The log reader.
    pub tailer: Arc<Tailer>,
    /// The shared read of the head of the log.
    pub freshness: Freshness,
    /// The readers that wait for news.
    pub waiters: Waiters,
    /// The source of internal numbers.
    pub nids: Arc<NidAllocator>,
    /// The clock.
    pub clock: Clock,
}

impl TestNode {
    /// A node without caches.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, TestNodeOptions::default()).await
    }

    /// A node with these caches and limits.
    pub async fn start_with(database: &TestDatabase, options: TestNodeOptions) -> Self {
        Self::start_on(database.store().await, options).await
    }

    /// A node on a database that is open and migrated.
    pub async fn start_on(store: Store, options: TestNodeOptions) -> Self {
        let clock = options.clock.unwrap_or(Clock::system());
        let mut conn = store.write().await.expect("a connection");
        let incarnation = log::new_incarnation(&mut conn).await.expect("an incarnation");
        conn.commit().await.expect("an incarnation");

        let nids = Arc::new(NidAllocator::new(store.clone()));
        let mut caches = options.caches;
        caches.push(Arc::clone(&nids) as _);
        let waiters = Waiters::default();
        let tailer = Tailer::start(store.clone(), caches, waiters.clone());
        let tailer = tailer.await.expect("the log is readable");
        if tailer.is_shared() {
            tailer.spawn(options.tailer);
        }
        let follower = Arc::clone(&tailer) as Arc<dyn log::OnCommit>;
        let (writer, _) =
            Writer::spawn(store.clone(), incarnation, clock.clone(), follower, options.writer);
        let freshness = Freshness::new(store.clone(), Arc::clone(&tailer));
        Self { incarnation, store, writer, tailer, freshness, waiters, nids, clock }
    }
}
