//! A request sees everything that was acknowledged before it began, through any node.

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

/// Looks at the log for requests, one look for all that wait.
///
/// A cached answer counts only if this node has applied a head that was *read after the request
/// arrived*. Where there is one node, what it has applied is the head, and there is nothing to read.
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
    /// Looks at the log of `store`, which `tailer` follows.
    pub fn new(store: Store, tailer: Arc<Tailer>) -> Self {
        Self(Arc::new(Shared { store, tailer, state: Mutex::default() }))
    }

    /// Returns when this node's caches hold all that was acknowledged before the call, and gives
    /// the head up to which they do.
    pub async fn current(&self) -> Result<Pos> {
        if self.0.store.backend() == Backend::Postgres {
            let _spending = TimeSpent::on_database();
            let span = tracing::debug_span!("freshness");
            let looked = tokio::time::timeout(LIMIT, self.look()).instrument(span).await;
            looked.map_err(|_| Error::Timeout("catching up with the log"))??;
        }
        Ok(self.0.tailer.applied())
    }

    /// Waits for a look that begins after the call.
    async fn look(&self) -> Result<()> {
        let (answer, looked) = oneshot::channel();
        let must_look = {
            let mut state = self.0.lock();
            state.waiting.push(answer);
            !std::mem::replace(&mut state.looking, true)
        };
        if must_look {
            // In a task of its own: whoever hangs up leaves the others their answer.
            tokio::spawn(look(Arc::clone(&self.0)));
        }
        looked.await.map_err(|_| Error::Timeout("reading the log"))
    }
}

/// Whoever looks. Where a cache panics meanwhile, those who wait for this look find their question
/// dropped, and somebody else looks for those who came later.
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

/// Catches up for those who wait, again and again until nobody does. Who comes while a look is
/// under way waits for the next one.
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
                    // Whoever hung up needs no answer.
                    let _ = answer.send(());
                }
            }
            // Those who wait find their question dropped.
            Err(error) => tracing::warn!(%error, "the log cannot be read"),
        }
    }
}

/// Applies all that is in the log now.
async fn catch_up(tailer: &Tailer) -> Result<()> {
    let mut applied = tailer.applied();
    let head = tailer.catch_up().await?;
    while tailer.applied() < head {
        // A batch that this node is writing is applied by its writer; what follows it is ours.
        tailer.wait_beyond(applied).await;
        applied = tailer.applied();
        tailer.catch_up().await?;
    }
    Ok(())
}
