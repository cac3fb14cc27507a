//! The node's one writer: takes appends from a bounded queue, writes those that wait together as
//! one batch, and answers each caller after the flush.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stoa_base::{Clock, Pos, Spending, TimeSpent};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use super::{
    Append, Touched,
    claims::Claims,
    group::{Answer, Group, QueuedAppend, Spans},
    joined_appends::JoinedAppends,
    mark::{BatchKey, Mark},
    outcome::{AppendError, Appended},
    postgres,
    rel_pos::RelPos,
    sqlite,
    written::{Timing, Written},
};
use crate::{Backend, Result, Store};

/// How long building an append may take while it holds the log lock, which everybody else waits
/// for. The database takes the lock away from a node that keeps it for three quarters of a second.
pub const BUILD_LIMIT: Duration = Duration::from_millis(500);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often a batch is retried on a log that has lost what this node has seen of it.
const LOSSES_LIMIT: u32 = 3;

/// The limits of a writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// How many appends may wait.
    pub queue: usize,
    /// The maximum number of appends in a batch.
    pub batch_appends: usize,
    /// The maximum size of a batch in bytes, roughly.
    pub batch_bytes: usize,
    /// How many bytes may wait, roughly.
    pub queue_bytes: usize,
    /// How long to keep asking for the outcome of a batch before its callers are told that it is
    /// unknown.
    pub unknown_outcome: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            queue: 8_192,
            batch_appends: 512,
            batch_bytes: 4 << 20,
            queue_bytes: 64 << 20,
            unknown_outcome: Duration::from_secs(30),
        }
    }
}

/// A batch that this node has committed.
#[derive(Debug)]
pub struct CommittedBatch {
    /// The head before the batch.
    pub prev: Pos,
    /// The head after it.
    pub last: Pos,
    /// The key under which it was written.
    pub key: BatchKey,
    /// What it changed.
    pub touched: Touched,
    /// The appends, each with the position before its first one.
    pub appends: Vec<(Pos, Append)>,
}

/// What the writer tells the reader that keeps the node's caches.
pub trait OnCommit: Send + Sync {
    /// The place up to which this node's caches are current.
    fn applied(&self) -> Mark;

    /// The key of the batch that is about to be written, or `None` if that was given up. The
    /// follower skips what the log has under that key, because [`OnCommit::committed`] delivers it.
    fn in_flight(&self, key: Option<BatchKey>) {
        let _ = key;
    }

    /// The outcome of these appends is unknown, and their callers were told so. This drops what the
    /// caches hold of them. If the log turns out to contain them, they are treated like another
    /// node's.
    fn given_up(&self, appends: &[&Append]) {
        let _ = appends;
    }

    /// Brings the caches up to the end of the batch, before its callers are answered.
    fn committed<'a>(
        &'a self,
        batch: &'a CommittedBatch,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// The log has lost something that this node has seen. This drops what the caches hold of it,
    /// and makes the log continue above it.
    fn log_was_lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

type BuildResult = Result<Append, AppendError>;
type BuildFuture = Pin<Box<dyn Future<Output = BuildResult> + Send>>;
type Build = Box<dyn FnOnce() -> BuildFuture + Send>;

enum Request {
    Append(Box<QueuedAppend>),
    Locked { build: Build, reply: oneshot::Sender<Answer>, spans: Spans },
}

/// An append in the queue.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Answer>,
    span: Span,
    /// The time is spent by whoever made the append, although another task may wait for it.
    _spending: Spending,
}

impl Pending {
    fn new(answer: oneshot::Receiver<Answer>, spans: &Spans) -> Self {
        Self { answer, span: spans.append.clone(), _spending: TimeSpent::on_append() }
    }

    /// Waits until the append is flushed or has failed. Dropping the future cancels nothing.
    pub async fn wait(self) -> Answer {
        self.answer.instrument(self.span).await.unwrap_or(Err(AppendError::Unavailable))
    }
}

/// Puts appends into the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Request>,
    waiting_bytes: Arc<AtomicUsize>,
    queue_bytes: usize,
}

impl Writer {
    /// Starts the writer of this node's run `incarnation`. It ends when every clone is gone and
    /// the queue is empty.
    pub fn spawn(
        store: Store,
        incarnation: i64,
        clock: Clock,
        on_commit: Arc<dyn OnCommit>,
        options: WriterOptions,
    ) -> (Self, JoinHandle<()>) {
        let (queue, requests) = mpsc::channel(options.queue);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let postgres = (store.backend() == Backend::Postgres).then(postgres::Session::default);
        let task = Task {
            store,
            postgres,
            key: BatchKey { incarnation, seq: 0 },
            clock,
            on_commit,
            options,
            waiting_bytes: Arc::clone(&waiting_bytes),
            carried: None,
        };
        let writer = Self { queue, waiting_bytes, queue_bytes: options.queue_bytes };
        (writer, tokio::spawn(task.run(requests)))
    }

    /// Puts an append into the queue. Appends of one task are written in the order of the calls.
    pub fn enqueue(&self, append: Append) -> Result<Pending, AppendError> {
        append.check()?;
        let weight = append.weight();
        if self.waiting_bytes.load(Ordering::Relaxed).saturating_add(weight) > self.queue_bytes {
            return Err(busy());
        }
        let (reply, answer) = oneshot::channel();
        let spans = Spans::begin(weight);
        let pending = Pending::new(answer, &spans);
        // Added first, so that the writer cannot subtract it before.
        self.waiting_bytes.fetch_add(weight, Ordering::Relaxed);
        let sent = self.send(Request::Append(Box::new(QueuedAppend { append, reply, spans })));
        if sent.is_err() {
            self.waiting_bytes.fetch_sub(weight, Ordering::Relaxed);
        }
        sent.map(|()| pending)
    }

    /// Writes an append, and returns its place once it is flushed.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.enqueue(append)?.wait().await
    }

    /// Writes the append that `build` makes while the log lock is held, so that nothing can change
    /// meanwhile. This is for appends that met too many conflicts, because everybody else waits for
    /// `build`.
    ///
    /// If it takes longer than [`BUILD_LIMIT`], it is given up with [`AppendError::Busy`]. The
    /// append must still carry its guards, because the database takes the lock away from a node
    /// that freezes.
    pub async fn append_locked<F, Fut>(&self, build: F) -> Result<Appended, AppendError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = BuildResult> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let build: Build = Box::new(move || Box::pin(build()));
        let spans = Spans::begin(0);
        let pending = Pending::new(answer, &spans);
        self.send(Request::Locked { build, reply, spans })?;
        pending.wait().await
    }

    fn send(&self, request: Request) -> Result<(), AppendError> {
        self.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => AppendError::Unavailable,
        })
    }
}

fn busy() -> AppendError {
    metrics::counter!("stoa_log_queue_full_total").increment(1);
    AppendError::Busy
}

struct Task {
    store: Store,
    postgres: Option<postgres::Session>,
    /// The key of the last batch.
    key: BatchKey,
    clock: Clock,
    on_commit: Arc<dyn OnCommit>,
    options: WriterOptions,
    waiting_bytes: Arc<AtomicUsize>,
    /// A request that was taken from the queue and did not fit into the previous batch.
    carried: Option<Request>,
}

impl Task {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let first = match self.carried.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            match first {
                Request::Locked { build, reply, mut spans } => {
                    spans.leave_queue();
                    let span = Spans::of_writing([&spans].into_iter());
                    self.write_locked(build, reply, spans).instrument(span).await;
                }
                Request::Append(first) => {
                    let mut appends = self.gather(*first, &mut requests);
                    for queued in &mut appends {
                        queued.spans.leave_queue();
                    }
                    metrics::histogram!("stoa_log_group_size").record(count(appends.len()));
                    let span = Spans::of_writing(appends.iter().map(|queued| &queued.spans));
                    self.write_appends(appends).instrument(span).await;
                }
            }
        }
    }

    /// Takes waiting appends from the queue, as far as a batch's limits and order allow.
    fn gather(
        &mut self,
        first: QueuedAppend,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Vec<QueuedAppend> {
        let mut bytes = first.append.weight();
        let mut claims = Claims::default();
        claims.admit(&first.append);
        let mut appends = vec![first];
        while appends.len() < self.options.batch_appends && bytes < self.options.batch_bytes {
            match requests.try_recv() {
                Ok(Request::Append(queued)) if claims.admit(&queued.append) => {
                    bytes += queued.append.weight();
                    appends.push(*queued);
                }
                Ok(other) => {
                    self.carried = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        appends
    }

    /// Writes the appends, except those that conflict and those that were built on them.
    async fn write_appends(&mut self, appends: Vec<QueuedAppend>) {
        let mut group = Group::new(appends);
        let mut losses = 0;
        loop {
            // Read first: if the log has lost something, chains are told before the place moves, so
            // nothing that is built on the lost part is written on top of the new place.
            let seen = self.on_commit.applied();
            group.refuse_lost();
            if group.is_empty() {
                break;
            }
            let batch = match group.join() {
                Ok(batch) => batch,
                Err(error) => {
                    group.refuse_all(&AppendError::Refused(error.to_string()));
                    break;
                }
            };
            match self.write(&batch, seen).await {
                Ok(Written::Committed { prev, last, moved }) => {
                    group.lose_heads(&moved);
                    self.finish(group.take_appends(), batch, prev, last).await;
                }
                Ok(Written::Conflicts(conflicts)) => {
                    metrics::counter!("stoa_log_conflicts_total").increment(conflicts.len() as u64);
                    if !group.refuse_conflicting(&conflicts) {
                        group.refuse_all(&AppendError::Conflict);
                    }
                }
                Ok(Written::Behind { head }) if losses < LOSSES_LIMIT => {
                    tracing::error!(%head, seen = %seen.pos, "the log has lost batches");
                    losses += 1;
                    self.on_commit.log_was_lost().await;
                }
                Ok(Written::Behind { .. }) => group.refuse_all(&AppendError::Unavailable),
                Err(AppendError::Refused(reason)) if group.len() > 1 => {
                    tracing::warn!(reason, appends = group.len(), "a batch failed");
                    for queued in group.take_appends() {
                        Box::pin(self.write_appends(vec![queued])).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, appends = group.len(), "appends failed");
                    metrics::counter!("stoa_log_failed_total").increment(group.len() as u64);
                    // The chains break before the log's reader can find the batch, so whoever
                    // builds on them starts anew.
                    group.break_chains();
                    self.on_commit.given_up(&group.appends());
                    self.on_commit.in_flight(None);
                    group.refuse_all(&error);
                }
            }
        }
        group.answer_refused();
    }

    /// Writes a batch under a key of its own, as often as it takes to learn the outcome. If it is
    /// not known in time, the batch is still in flight.
    async fn write(&mut self, batch: &JoinedAppends, seen: Mark) -> Result<Written, AppendError> {
        self.key.seq += 1;
        self.on_commit.in_flight(Some(self.key));
        let started = self.clock.monotonic();
        let written = loop {
            let attempted = self.clock.monotonic();
            let mut timing = Timing::default();
            let written = self.attempt(batch, seen, &mut timing).await;
            let lock_wait_us = u64::try_from(timing.lock_wait.as_micros()).unwrap_or(u64::MAX);
            Span::current().record("lock_wait_us", lock_wait_us);
            let held = attempted.elapsed().saturating_sub(timing.lock_wait);
            metrics::histogram!("stoa_log_lock_wait_seconds")
                .record(timing.lock_wait.as_secs_f64());
            metrics::histogram!("stoa_log_lock_held_seconds").record(held.as_secs_f64());
            match written {
                Err(error) if self.may_try_again(&error, started.elapsed()) => {
                    tracing::warn!(%error, "an append failed and is tried again");
                    metrics::counter!("stoa_log_retries_total").increment(1);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                outcome => break outcome,
            }
        };
        if matches!(written, Ok(Written::Conflicts(_) | Written::Behind { .. })) {
            self.on_commit.in_flight(None);
        }
        written.map_err(|error| {
            if error.is_refusal() {
                self.on_commit.in_flight(None);
                return AppendError::Refused(error.to_string());
            }
            tracing::error!(%error, "the database cannot be reached");
            AppendError::Unavailable
        })
    }

    async fn attempt(
        &mut self,
        batch: &JoinedAppends,
        seen: Mark,
        timing: &mut Timing,
    ) -> Result<Written> {
        let Self { store, clock, key, .. } = self;
        match &mut self.postgres {
            None => sqlite::write(store, batch, *key, clock, timing).await,
            Some(session) => session.write(store, batch, *key, clock, seen, timing).await,
        }
    }

    /// Whether writing again under the same key shows what became of the batch. SQLite answers or
    /// fails for good, and the key is not looked up there.
    fn may_try_again(&self, error: &crate::Error, elapsed: Duration) -> bool {
        self.postgres.is_some() && !error.is_refusal() && elapsed < self.options.unknown_outcome
    }

    async fn finish(
        &mut self,
        group: Vec<QueuedAppend>,
        batch: JoinedAppends,
        prev: Pos,
        last: Pos,
    ) {
        let mut appends = Vec::with_capacity(group.len());
        let mut replies = Vec::with_capacity(group.len());
        for (queued, base) in group.into_iter().zip(&batch.bases) {
            let base = Pos(prev.0 + base);
            note_commit(&queued.append, base);
            appends.push((base, queued.append));
            replies.push((queued.reply, Appended { base, last }));
        }
        if !batch.audit.is_empty() {
            metrics::counter!("stoa_audit_entries_total").increment(batch.audit.len() as u64);
            metrics::gauge!("stoa_audit_position").set(position(last));
        }
        let committed =
            CommittedBatch { prev, last, key: self.key, touched: batch.touched, appends };
        self.on_commit.committed(&committed).await;
        metrics::counter!("stoa_log_appends_total").increment(replies.len() as u64);
        metrics::gauge!("stoa_log_position").set(position(last));
        for (reply, appended) in replies {
            // The caller may have hung up; the append stands.
            let _ = reply.send(Ok(appended));
        }
    }

    async fn write_locked(&mut self, build: Build, reply: oneshot::Sender<Answer>, spans: Spans) {
        let lock = match &mut self.postgres {
            None => Ok(()),
            Some(session) => session.lock(&self.store).await,
        };
        let append = match lock {
            Ok(()) => build_in_time(build()).await,
            Err(error) => {
                tracing::error!(%error, "the log lock cannot be taken");
                Err(AppendError::Unavailable)
            }
        };
        match append.and_then(|append| append.check().map(|()| append)) {
            Ok(append) => self.write_appends(vec![QueuedAppend { append, reply, spans }]).await,
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
        if let Some(session) = &mut self.postgres {
            session.unlock().await;
        }
    }
}

/// Builds the append in a task of its own, so that a panic there does not stop the writer.
async fn build_in_time(build: BuildFuture) -> BuildResult {
    let mut building = AbortOnDropHandle::new(tokio::spawn(build.in_current_span()));
    let Ok(built) = tokio::time::timeout(BUILD_LIMIT, &mut building).await else {
        tracing::warn!("building an append under the log lock took too long, and was given up");
        metrics::counter!("stoa_log_builds_given_up_total").increment(1);
        return Err(AppendError::Busy);
    };
    built.unwrap_or_else(|error| {
        tracing::error!(%error, "building an append under the log lock failed");
        Err(AppendError::Refused("it could not be built".to_owned()))
    })
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point, and exact to 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point, and exact to 2^53")]
fn position(pos: Pos) -> f64 {
    pos.0 as f64
}

/// Tells the append's chains what was committed of them.
fn note_commit(append: &Append, base: Pos) {
    let absolute = |pos: Option<RelPos>| pos.map(|pos| Pos(base.0 + pos.0));
    for chain in append.chains() {
        for update in append.room_updates.iter().filter(|row| row.room_nid == chain.room()) {
            chain.committed(absolute(update.state_pos), absolute(update.head_pos));
        }
    }
}
