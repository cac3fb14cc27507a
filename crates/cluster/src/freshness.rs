//! A request sees everything that was acknowledged before it began, on any node.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stoa_base::{Pos, TimeSpent};
use stoa_storage::{Backend, Error, Result, Store};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::tailer::Tailer;

/// How long a request waits for this node to catch up.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads the log on behalf of requests, with one read for all that wait.
///
/// A cached answer counts only if this node has applied a head that was *read after the request
/// arrived*. With a single node, what it has applied is the head, and nothing needs to be read.
#[derive(Clone, Debug)]
pub struct Freshness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    tailer: Arc<Tailer>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looking: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Freshness {
    /// Reads the log of `store`, which `tailer` follows.
    pub fn new(store: Store, tailer: Arc<Tailer>) -> Self {
        Self(Arc::new(Shared { store, tailer, state: Mutex::default() }))
    }

    /// Returns once this node's caches contain everything that was acknowledged before the call,
    /// with the head up to which they do.
    pub async fn current(&self) -> Result<Pos> {
        if self.0.store.backend() == Backend::Postgres {
            let _spending = TimeSpent::on_database();
            let span = tracing::debug_span!("freshness");
            let looked = tokio::time::timeout(LIMIT, self.look()).instrument(span).await;
            looked.map_err(|_| Error::Timeout("catching up with the log"))??;
        }
        Ok(self.0.tailer.applied())
    }

    /// Waits for a read that begins after the call.
    async fn look(&self) -> Result<()> {
        let (answer, looked) = oneshot::channel();
        let must_look = {
            let mut state = self.0.lock();
            state.waiting.push(answer);
            !std::mem::replace(&mut state.looking, true)
        };
        if must_look {
            // In a task of its own, so that a caller who hangs up does not cancel it for the
            // others.
            tokio::spawn(look(Arc::clone(&self.0)));
        }
        looked.await.map_err(|_| Error::Timeout("reading the log"))
    }
}

/// The task that reads. If a cache panics during a read, the requests waiting for that read see
/// their channel closed, and a new task reads for those that came later.
struct Looker(Arc<Shared>);

impl Drop for Looker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.lock();
            state.looking = !state.waiting.is_empty();
            if state.looking {
                tokio::spawn(look(Arc::clone(&self.0)));
            }
        }
    }
}

/// Catches up for waiting requests, repeatedly until there are none. A request that arrives during
/// a read waits for the next one.
async fn look(shared: Arc<Shared>) {
    let looker = Looker(shared);
    let shared = &looker.0;
    loop {
        let waiting = {
            let mut state = shared.lock();
            if state.waiting.is_empty() {
                state.looking = false;
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        metrics::counter!("stoa_log_head_reads_total").increment(1);
        let looked = tokio::time::timeout(LIMIT, catch_up(&shared.tailer)).await;
        match looked.unwrap_or(Err(Error::Timeout("catching up with the log"))) {
            Ok(()) => {
                for answer in waiting {
                    // The caller may have hung up.
                    let _ = answer.send(());
                }
            }
            // The waiting requests see their channel closed.
            Err(error) => tracing::warn!(%error, "the log cannot be read"),
        }
    }
}

/// Applies everything that is in the log now.
async fn catch_up(tailer: &Tailer) -> Result<()> {
    let mut applied = tailer.applied();
    let head = tailer.catch_up().await?;
    while tailer.applied() < head {
        // The batch that this node is writing is applied by its writer; later batches are applied
        // here.
        tailer.wait_beyond(applied).await;
        applied = tailer.applied();
        tailer.catch_up().await?;
    }
    Ok(())
}
