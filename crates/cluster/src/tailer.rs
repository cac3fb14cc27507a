//! The node's one reader of the log: tells the caches what is stale, and wakes who waits.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use stoa_base::Pos;
use stoa_storage::{
    Backend, Result, Store,
    log::{self, Append, CommittedBatch, OnCommit, Touched},
};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
};

use crate::Waiters;

/// How many batches are read at once.
const PAGE: i64 = 500;

/// One batch, as caches are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The head before the batch.
    pub prev: Pos,
    /// The head after it.
    pub last: Pos,
    /// What it changed.
    pub touched: &'a Touched,
    /// The appends themselves, each with the position before its first, where this node wrote
    /// them. For another node's batch only `touched` is known.
    pub appends: Option<&'a [(Pos, Append)]>,
}

/// A cache that follows the log.
pub trait CacheKeeper: Send + Sync {
    /// Makes the cache current up to `batch.last`. Batches come in order, each once.
    fn apply(&self, batch: Batch<'_>);

    /// Drops everything: what happened up to `head` is not known.
    fn clear(&self, head: Pos);
}

/// How the tailer behaves.
#[derive(Clone, Copy, Debug)]
pub struct TailerOptions {
    /// How often the log is looked at where nothing says that there is news.
    pub interval: Duration,
}

impl Default for TailerOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1) }
    }
}

/// Follows the log. Every change of a cache happens here, in the order of the log.
pub struct Tailer {
    store: Store,
    caches: Vec<Arc<dyn CacheKeeper>>,
    waiters: Waiters,
    applied: watch::Sender<Pos>,
    /// Held while batches are applied, so that they are applied in order and once.
    applying: Mutex<()>,
    nudge: Notify,
}

impl std::fmt::Debug for Tailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tailer").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

impl Tailer {
    /// A tailer that starts at the present end of the log: what came before is in no cache.
    pub async fn start(
        store: Store,
        caches: Vec<Arc<dyn CacheKeeper>>,
        waiters: Waiters,
    ) -> Result<Arc<Self>> {
        let head = log::head(&mut store.read().await?).await?;
        for cache in &caches {
            cache.clear(head);
        }
        Ok(Arc::new(Self {
            store,
            caches,
            waiters,
            applied: watch::Sender::new(head),
            applying: Mutex::new(()),
            nudge: Notify::new(),
        }))
    }

    /// Where the log is shared with other nodes: looks at it when nudged, and at an interval.
    pub fn spawn(self: &Arc<Self>, options: TailerOptions) -> JoinHandle<()> {
        let tailer = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let nudged = tailer.nudge.notified();
                // A nudge and the interval mean the same.
                let _ = tokio::time::timeout(options.interval, nudged).await;
                if let Err(error) = tailer.catch_up().await {
                    tracing::warn!(%error, "the log cannot be read");
                }
            }
        })
    }

    /// The head up to which every cache of this node is current.
    pub fn applied(&self) -> Pos {
        *self.applied.borrow()
    }

    /// Whether other nodes may write to the log.
    pub fn is_shared(&self) -> bool {
        self.store.backend() == Backend::Postgres
    }

    /// A hint that there is news in the log.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// The readers that wait for news.
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Waits until `pos` is applied.
    pub async fn wait_for(&self, pos: Pos) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`.
        let _ = applied.wait_for(|applied| *applied >= pos).await;
    }

    /// Applies everything that is in the log now.
    pub async fn catch_up(&self) -> Result<()> {
        let _order = self.applying.lock().await;
        self.catch_up_in_order(None).await
    }

    /// Applies what is in the log, up to the batch that ends at `until` where that is given.
    async fn catch_up_in_order(&self, until: Option<Pos>) -> Result<()> {
        let mut conn = self.store.read().await?;
        loop {
            let applied = self.applied();
            let batches = log::batches_after(&mut conn, applied, PAGE).await?;
            let Some(first) = batches.first() else {
                let head = log::head(&mut conn).await?;
                if head < applied {
                    self.alarm_head_went_back(head, applied);
                }
                return Ok(());
            };
            if first.prev != applied {
                // Batches between were pruned, or the log was restored to an earlier moment.
                let head = log::head(&mut conn).await?;
                tracing::warn!(%applied, %head, "the log moved out of sight; all caches dropped");
                self.clear(head);
                continue;
            }
            let is_last_page = batches.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for batch in batches {
                if until.is_some_and(|until| batch.last > until) {
                    return Ok(());
                }
                self.apply(Batch {
                    prev: batch.prev,
                    last: batch.last,
                    touched: &batch.touched,
                    appends: None,
                });
            }
            if is_last_page {
                return Ok(());
            }
        }
    }

    fn alarm_head_went_back(&self, head: Pos, applied: Pos) {
        tracing::error!(
            %head, %applied,
            "the log is shorter than it was: the database was restored or failed over with loss; \
             all caches dropped, and positions go on above what was seen"
        );
        metrics::counter!("stoa_log_head_went_back_total").increment(1);
        for cache in &self.caches {
            cache.clear(applied);
        }
        self.waiters.wake_all();
    }

    fn clear(&self, head: Pos) {
        for cache in &self.caches {
            cache.clear(head);
        }
        self.applied.send_replace(head);
        self.waiters.wake_all();
    }

    fn apply(&self, batch: Batch<'_>) {
        for cache in &self.caches {
            cache.apply(batch);
        }
        self.applied.send_replace(batch.last);
        self.waiters.wake(batch.touched);
    }
}

impl OnCommit for Tailer {
    fn applied(&self) -> Pos {
        Self::applied(self)
    }

    fn committed<'a>(
        &'a self,
        batch: &'a CommittedBatch,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let _order = self.applying.lock().await;
            if self.applied() < batch.prev {
                // Other nodes wrote in between: theirs come first.
                while let Err(error) = self.catch_up_in_order(Some(batch.prev)).await {
                    tracing::warn!(%error, "the log cannot be read");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                if self.applied() < batch.prev {
                    self.clear(batch.prev);
                }
            }
            if self.applied() == batch.prev {
                self.apply(Batch {
                    prev: batch.prev,
                    last: batch.last,
                    touched: &batch.touched,
                    appends: Some(&batch.appends),
                });
            }
        })
    }
}
