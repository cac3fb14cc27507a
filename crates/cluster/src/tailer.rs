//! The node's one reader of the log: tells the caches what is stale, and wakes waiting readers.
//!
//! It knows which batch ends at the position that it has applied, and compares that with the log at
//! each read, as the writer does at each append. So it can tell a log that was cut off and has
//! grown again from one that has only grown.

mod announcements;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use stoa_base::Pos;
use stoa_storage::{
    Backend, NidAllocator, Result, Store,
    log::{
        self, Append, BatchKey, BatchRows, CommittedBatch, LogReader, LoggedBatch, LoggedRows,
        Mark, News, OnCommit, Touched,
    },
};
use tokio::{
    sync::{Mutex, MutexGuard, Notify, watch},
    task::JoinHandle,
};

use crate::waiters::Waiters;

/// How many batches are read at once.
const PAGE: i64 = 500;

/// How many places in the log are remembered, to determine how much of it was lost.
const PLACES: usize = 1_000;

/// One batch, as the caches get it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The head before the batch.
    pub prev: Pos,
    /// The head after it.
    pub last: Pos,
    /// What it changed.
    pub touched: &'a Touched,
    /// The appends themselves, each with the position before its first one, if this node wrote
    /// them.
    pub appends: Option<&'a [(Pos, Append)]>,
    /// The rows that the batch wrote, if another node wrote it and they were not too many to read.
    /// Without them only `touched` is known.
    pub rows: Option<BatchRows<'a>>,
}

/// A cache that follows the log.
pub trait CacheKeeper: Send + Sync {
    /// Makes the cache current up to `batch.last`. Batches come in order, each once.
    ///
    /// A cache of rooms breaks the chain of every room that the batch touches, unless the append
    /// that touches it is part of that chain. Appends built on an older version of the room must
    /// not be written.
    fn apply(&self, batch: Batch<'_>);

    /// Drops everything, because it is not known what happened up to `head`.
    fn clear(&self, head: Pos);

    /// Like [`CacheKeeper::clear`], for a log that has lost what this node has seen. Also drops
    /// entries that otherwise never go stale: an internal number may stand for something else by
    /// now, and a remembered transaction may never have happened.
    ///
    /// A cache of rooms tells the chain of every room: see [`Chain::note_loss`](log::Chain).
    fn forget(&self, head: Pos) {
        self.clear(head);
    }

    /// It is unknown whether these appends of this node were written. If they turn up in the log,
    /// [`CacheKeeper::apply`] gets them as if another node had written them, so whatever was
    /// prepared for the moment when they are written must be dropped now.
    fn given_up(&self, appends: &[&Append]) {
        let _ = appends;
    }
}

/// Numbers that were drawn but not handed out are a cache too: if the log is lost, another node may
/// draw them again.
impl CacheKeeper for NidAllocator {
    fn apply(&self, _: Batch<'_>) {}

    fn clear(&self, _: Pos) {
        self.discard();
    }
}

/// The settings of the tailer.
#[derive(Clone, Copy, Debug)]
pub struct TailerOptions {
    /// How often the log is read if no hint arrives.
    pub interval: Duration,
    /// Whether nodes announce their commits to one another. Every promise holds without it, but
    /// news then takes up to `interval`.
    pub announce: bool,
}

impl Default for TailerOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), announce: true }
    }
}

/// Follows the log. All cache changes happen here, in the order of the log.
pub struct Tailer {
    store: Store,
    caches: Vec<Arc<dyn CacheKeeper>>,
    waiters: Waiters,
    applied: watch::Sender<Mark>,
    /// The end of the last jump that was applied.
    jumped: watch::Sender<Pos>,
    /// Held while batches are applied, so that each is applied once and in order.
    order: Mutex<Follower>,
    in_flight: StdMutex<InFlight>,
    nudge: Notify,
    /// Notified of this node's own commits.
    committed: Notify,
}

/// The node's current place in the log, and earlier ones.
#[derive(Debug)]
struct Follower {
    reader: LogReader,
    /// The most recently applied places, in order.
    places: VecDeque<Mark>,
}

/// The batch that this node is writing.
#[derive(Debug, Default)]
struct InFlight {
    key: Option<BatchKey>,
    /// Whether the log was found to contain the batch, perhaps with more after it.
    is_awaited: bool,
}

impl std::fmt::Debug for Tailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tailer").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

impl Tailer {
    /// A tailer that starts at the current end of the log; the caches contain nothing older.
    pub async fn start(
        store: Store,
        caches: Vec<Arc<dyn CacheKeeper>>,
        waiters: Waiters,
    ) -> Result<Arc<Self>> {
        let head = log::head_mark(&mut store.read().await?).await?;
        for cache in &caches {
            cache.clear(head.pos);
        }
        let reader = LogReader::new(store.clone());
        Ok(Arc::new(Self {
            order: Mutex::new(Follower { reader, places: VecDeque::from([head]) }),
            store,
            caches,
            waiters,
            applied: watch::Sender::new(head),
            jumped: watch::Sender::new(head.pos),
            in_flight: StdMutex::default(),
            nudge: Notify::new(),
            committed: Notify::new(),
        }))
    }

    /// For a log that is shared with other nodes: reads it when nudged, and at an interval. It ends
    /// with the runtime.
    pub fn spawn(self: &Arc<Self>, options: TailerOptions) -> JoinHandle<()> {
        let tailer = Arc::clone(self);
        tokio::spawn(async move {
            let announcements = async {
                if options.announce {
                    announcements::exchange(&tailer).await;
                }
            };
            let follow = async {
                loop {
                    // A nudge and the end of the interval have the same effect.
                    let _ = tokio::time::timeout(options.interval, tailer.nudge.notified()).await;
                    if let Err(error) = tailer.catch_up().await {
                        tracing::warn!(%error, "the log cannot be read");
                    }
                }
            };
            tokio::join!(announcements, follow);
        })
    }

    /// The head up to which every cache of this node is current.
    pub fn applied(&self) -> Pos {
        self.place().pos
    }

    /// The place up to which every cache of this node is current.
    fn place(&self) -> Mark {
        *self.applied.borrow()
    }

    /// Whether the log may have jumped over `pos` while this node followed it. If so, that position
    /// may belong to a lost part; [`log::was_lost`] tells.
    pub fn may_have_jumped_over(&self, pos: Pos) -> bool {
        pos < *self.jumped.borrow()
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

    /// Waits until a position above `pos` is applied.
    pub(crate) async fn wait_beyond(&self, pos: Pos) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`.
        let _ = applied.wait_for(|applied| applied.pos > pos).await;
    }

    /// Waits until `pos` is applied.
    pub async fn wait_for(&self, pos: Pos) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`.
        let _ = applied.wait_for(|applied| applied.pos >= pos).await;
    }

    /// Applies everything that is in the log now, and returns the head that was found. A batch that
    /// this node is writing is left to its writer, so that position may be applied a moment later.
    pub async fn catch_up(&self) -> Result<Pos> {
        let mut follower = self.order.lock().await;
        self.catch_up_in_order(&mut follower, None).await
    }

    /// Applies what is in the log, up to the batch that ends at `until` if that is given.
    async fn catch_up_in_order(
        &self,
        follower: &mut MutexGuard<'_, Follower>,
        until: Option<Pos>,
    ) -> Result<Pos> {
        loop {
            let applied = self.place();
            let batches = match follower.reader.after(applied, PAGE).await? {
                News::Batches(batches) => batches,
                News::Gap { head } => {
                    let head = until.map_or(head, |pos| Mark { pos, key: None });
                    tracing::warn!(
                        applied = %applied.pos, head = %head.pos,
                        "this node was too far behind the log, part of which is pruned; caches dropped"
                    );
                    self.clear(follower, head);
                    continue;
                }
                News::Lost { head } => {
                    self.raise(follower, head).await?;
                    continue;
                }
            };
            let Some(newest) = batches.last() else { return Ok(applied.pos) };
            let (newest, is_last_page) = (newest.last, is_last_page(&batches));
            // A node that is far behind only drops stale entries, because nobody is waiting for the
            // rows.
            let mut may_read = is_last_page;
            let mut rows: Option<LoggedRows> = None;
            let mut rest = batches.as_slice();
            while let Some((batch, later)) = rest.split_first() {
                if until.is_some_and(|until| batch.last > until) {
                    return Ok(newest);
                }
                if self.is_in_flight(batch.key) {
                    return Ok(newest);
                }
                if may_read && rows.as_ref().is_none_or(|rows| rows.of(batch).is_none()) {
                    rows = read_rows(&mut follower.reader, rest).await;
                    may_read = rows.is_some();
                }
                self.apply_logged(follower, batch, rows.as_ref().and_then(|rows| rows.of(batch)));
                rest = later;
            }
            if is_last_page {
                return Ok(newest);
            }
        }
    }

    /// Applies a batch that was read from the log, with its rows if they were read.
    fn apply_logged(
        &self,
        follower: &mut Follower,
        batch: &LoggedBatch,
        rows: Option<BatchRows<'_>>,
    ) {
        if batch.is_jump() {
            self.jumped.send_replace(batch.last);
        }
        let Some(touched) = &batch.touched else {
            tracing::warn!(
                last = %batch.last,
                "a newer version has changed something unknown to this one; caches dropped"
            );
            return self.clear(follower, batch.mark());
        };
        // If a stream is unknown, more may have changed than these rows show.
        let rows = rows.filter(|_| !touched.has_unknown());
        let applied = Batch { prev: batch.prev, last: batch.last, touched, appends: None, rows };
        self.apply(follower, applied, batch.key);
    }

    /// Whether this node's writer will deliver the batch.
    fn is_in_flight(&self, key: BatchKey) -> bool {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.is_awaited |= in_flight.key == Some(key);
        in_flight.key == Some(key)
    }

    fn set_in_flight(&self, key: Option<BatchKey>) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if in_flight.is_awaited {
            self.nudge();
        }
        *in_flight = InFlight { key, is_awaited: false };
    }

    /// The log, which ends at `head`, lacks what this node has seen of it. Continues the log above
    /// that, and makes all caches forget everything.
    async fn raise(&self, follower: &mut Follower, head: Pos) -> Result<()> {
        let seen = self.applied();
        tracing::error!(
            %head, %seen,
            "the log has lost batches: the database was restored to an earlier moment, or \
             failed over with loss. Caches are dropped, and positions go on above what was seen"
        );
        metrics::counter!("stoa_log_lost_total").increment(1);
        let known = follower.places.make_contiguous();
        let raised = log::raise(&self.store, seen, known).await?;
        self.jumped.send_replace(raised.pos);
        for cache in &self.caches {
            cache.forget(raised.pos);
        }
        follower.places.clear();
        self.advance(follower, raised);
        self.waiters.wake_all();
        Ok(())
    }

    fn clear(&self, follower: &mut Follower, head: Mark) {
        // There may have been a jump.
        self.jumped.send_replace(head.pos);
        for cache in &self.caches {
            cache.clear(head.pos);
        }
        self.advance(follower, head);
        self.waiters.wake_all();
    }

    fn apply(&self, follower: &mut Follower, batch: Batch<'_>, key: BatchKey) {
        for cache in &self.caches {
            cache.apply(batch);
        }
        self.advance(follower, Mark { pos: batch.last, key: Some(key) });
        self.waiters.wake(batch.touched);
    }

    fn advance(&self, follower: &mut Follower, place: Mark) {
        if follower.places.len() >= PLACES {
            follower.places.pop_front();
        }
        follower.places.push_back(place);
        self.applied.send_replace(place);
    }

    #[tracing::instrument(name = "apply", level = "debug", skip_all)]
    async fn apply_own(&self, batch: &CommittedBatch) {
        let mut follower = self.order.lock().await;
        self.set_in_flight(None);
        if self.applied() < batch.prev {
            // Other nodes wrote in between; their batches come first.
            if let Err(error) = self.catch_up_in_order(&mut follower, Some(batch.prev)).await {
                tracing::warn!(%error, "the log cannot be read; caches dropped");
            }
            if self.applied() < batch.prev {
                let prev = Mark { pos: batch.prev, key: None };
                self.clear(&mut follower, prev);
            }
        }
        if self.applied() == batch.prev {
            let CommittedBatch { prev, last, key, touched, appends } = batch;
            let applied = Batch {
                prev: *prev,
                last: *last,
                touched,
                appends: Some(appends.as_slice()),
                rows: None,
            };
            self.apply(&mut follower, applied, *key);
        }
        self.committed.notify_one();
    }
}

/// The rows of these batches, as many as are read at once. On failure the caches have to drop stale
/// entries instead.
async fn read_rows(reader: &mut LogReader, batches: &[LoggedBatch]) -> Option<LoggedRows> {
    match reader.rows(batches).await {
        Ok(rows) => Some(rows),
        Err(error) => {
            tracing::warn!(%error, "the rows of other nodes cannot be read");
            None
        }
    }
}

fn is_last_page(batches: &[LoggedBatch]) -> bool {
    batches.len() < usize::try_from(PAGE).unwrap_or(usize::MAX)
}

impl OnCommit for Tailer {
    fn applied(&self) -> Mark {
        self.place()
    }

    fn given_up(&self, appends: &[&Append]) {
        for cache in &self.caches {
            cache.given_up(appends);
        }
    }

    fn in_flight(&self, key: Option<BatchKey>) {
        self.set_in_flight(key);
    }

    fn committed<'a>(
        &'a self,
        batch: &'a CommittedBatch,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.apply_own(batch))
    }

    fn log_was_lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if let Err(error) = self.catch_up().await {
                tracing::warn!(%error, "the log cannot be read");
            }
        })
    }
}
