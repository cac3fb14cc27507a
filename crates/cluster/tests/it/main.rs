//! Nodes that follow one log.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it does not expect")]

mod freshness;
mod jobs;
mod leases;
mod log_cache;
mod lost_log;
mod tailer;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use stoa_base::{Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, TailerOptions};
use stoa_testing::{TestDatabase, TestNode, TestNodeOptions};

/// The room that most tests are about.
const ROOM: RoomNid = RoomNid(7);

/// How long anything may take: far longer than on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// News arrives only through what is being tested.
const SILENT: TailerOptions =
    TailerOptions { interval: Duration::from_secs(86_400), announce: false };

/// A call that a cache received.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// A batch, and whether this node wrote it.
    Batch { prev: Pos, last: Pos, is_own: bool },
    /// It knows nothing up to this position.
    Clear(Pos),
}

/// A cache that only records the calls it receives.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Told>>);

impl Recorder {
    /// The calls since the last time, except those at the start.
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl CacheKeeper for Recorder {
    fn apply(&self, batch: Batch<'_>) {
        let is_own = batch.appends.is_some();
        self.0.lock().unwrap().push(Told::Batch { prev: batch.prev, last: batch.last, is_own });
    }

    fn clear(&self, head: Pos) {
        self.0.lock().unwrap().push(Told::Clear(head));
    }
}

/// A node with a cache that records its calls.
async fn node(db: &TestDatabase, tailer: TailerOptions) -> (TestNode, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let caches = vec![Arc::clone(&recorder) as Arc<dyn CacheKeeper>];
    let options = TestNodeOptions { caches, tailer, ..TestNodeOptions::default() };
    let node = TestNode::start_with(db, options).await;
    recorder.take();
    (node, recorder)
}

/// The result, which must come in time.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}
