//! A request sees everything that was acknowledged before it began, through any node.

use std::sync::{Arc, Mutex, PoisonError};

use stoa_base::Pos;
use stoa_storage::{Error, Result, log};
use tokio::sync::oneshot;

use crate::Tailer;

/// Looks at the head of the log for requests, one look for all that wait.
///
/// A cached answer counts only if this node has applied a head that was *read after the request
/// arrived*. Where there is one node, what it has applied is the head, and there is nothing to read.
#[derive(Clone, Debug)]
pub struct Freshness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: stoa_storage::Store,
    tailer: Arc<Tailer>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looking: bool,
    waiting: Vec<oneshot::Sender<Option<Pos>>>,
}

impl Freshness {
    /// Looks at the log of `store`, which `tailer` follows.
    pub fn new(store: stoa_storage::Store, tailer: Arc<Tailer>) -> Self {
        Self(Arc::new(Shared { store, tailer, state: Mutex::default() }))
    }

    /// Returns when this node's caches hold all that was acknowledged before the call, and gives
    /// the head up to which they do.
    pub async fn current(&self) -> Result<Pos> {
        if !self.0.tailer.is_shared() {
            return Ok(self.0.tailer.applied());
        }
        let head = self.head().await?;
        if self.0.tailer.applied() < head {
            self.0.tailer.nudge();
            self.0.tailer.wait_for(head).await;
        }
        Ok(self.0.tailer.applied())
    }

    /// A head that is read after the call.
    async fn head(&self) -> Result<Pos> {
        let (answer, head) = oneshot::channel();
        let must_look = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push(answer);
            !std::mem::replace(&mut state.looking, true)
        };
        if must_look {
            // In a task of its own: whoever hangs up leaves the others their answer.
            tokio::spawn(look(Arc::clone(&self.0)));
        }
        head.await.ok().flatten().ok_or_else(|| Error::corrupt("the head of the log is unreadable"))
    }
}

/// Reads the head for those who wait, again and again until nobody does. Who comes while a read is
/// under way waits for the next one.
async fn look(shared: Arc<Shared>) {
    loop {
        let waiting = {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                state.looking = false;
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        metrics::counter!("stoa_log_head_reads_total").increment(1);
        let head = read_head(&shared.store).await;
        if let Err(error) = &head {
            tracing::warn!(%error, "the head of the log cannot be read");
        }
        let head = head.ok();
        for answer in waiting {
            // Whoever hung up needs no answer.
            let _ = answer.send(head);
        }
    }
}

async fn read_head(store: &stoa_storage::Store) -> Result<Pos> {
    log::head(&mut store.read().await?).await
}
