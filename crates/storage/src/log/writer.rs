//! The node's one writer: takes appends from a bounded queue, writes those that wait together as
//! one batch, and answers each caller after the flush.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use stoa_base::{Clock, Pos};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{Append, Chain, Guard, Touched, batch::Batch, postgres, rows::RelPos, sqlite};
use crate::{Backend, Result, Store};

/// How long a batch whose outcome is unknown is asked after before its callers are told so.
const UNKNOWN_OUTCOME_LIMIT: Duration = Duration::from_secs(30);

/// The limits of a writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// How many appends may wait.
    pub queue: usize,
    /// How many appends are written together at most.
    pub batch_members: usize,
    /// How many bytes are written together at most, roughly.
    pub batch_bytes: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { queue: 8_192, batch_members: 512, batch_bytes: 4 << 20 }
    }
}

/// Where an append stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    base: Pos,
    last: Pos,
}

impl Appended {
    /// The position that a row of the append got.
    pub fn pos(&self, relative: RelPos) -> Pos {
        Pos(self.base.0 + relative.0)
    }

    /// The head after the append's batch: a reader that has seen it has seen the append.
    pub fn last(&self) -> Pos {
        self.last
    }
}

/// Why an append was not written, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full.
    #[error("too many changes are waiting to be written")]
    Busy,
    /// The room moved, or an append that this one was built on failed. Build it again.
    #[error("the room changed while the event was being sent")]
    Conflict,
    /// An event with this ID, or from this device with this transaction ID, is there already.
    #[error("the event is there already")]
    Duplicate,
    /// The access token was revoked.
    #[error("the session has ended")]
    SessionEnded,
    /// The database refused this append.
    #[error("the database refused the change: {0}")]
    Refused(String),
    /// The database could not be reached in time. The append may or may not have been written.
    #[error("the database cannot be reached")]
    Unavailable,
}

/// A batch that this node has committed.
#[derive(Debug)]
pub struct CommittedBatch {
    /// The head before the batch.
    pub prev: Pos,
    /// The head after it.
    pub last: Pos,
    /// What it changed.
    pub touched: Touched,
    /// The appends, each with the position before its first.
    pub appends: Vec<(Pos, Append)>,
}

/// Who hears of a commit before its callers do: the reader that keeps the node's caches.
pub trait OnCommit: Send + Sync {
    /// The head up to which this node's caches are current.
    fn applied(&self) -> Pos;

    /// Brings the caches up to the end of the batch.
    fn committed<'a>(
        &'a self,
        batch: &'a CommittedBatch,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// What came of one attempt to write a batch.
#[derive(Debug)]
pub(super) enum Written {
    Committed { prev: Pos, last: Pos },
    Conflicts(Vec<Conflict>),
}

/// A member that stands in a batch's way.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Conflict {
    pub(super) member: usize,
    pub(super) reason: String,
}

impl Conflict {
    fn to_error(&self) -> AppendError {
        match self.reason.as_str() {
            "event" => AppendError::Duplicate,
            "session" => AppendError::SessionEnded,
            _ => AppendError::Conflict,
        }
    }
}

type Answer = Result<Appended, AppendError>;
type BuildResult = Result<Append, AppendError>;
type BuildFuture = Pin<Box<dyn Future<Output = BuildResult> + Send>>;
type Build = Box<dyn FnOnce() -> BuildFuture + Send>;

struct Member {
    append: Append,
    reply: oneshot::Sender<Answer>,
}

enum Request {
    Append(Member),
    Locked { build: Build, reply: oneshot::Sender<Answer> },
}

/// An append that is in the queue.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Answer>);

impl Pending {
    /// Waits until the append is flushed, or has failed. Giving up waiting cancels nothing.
    pub async fn wait(self) -> Answer {
        self.0.await.unwrap_or(Err(AppendError::Unavailable))
    }
}

/// The way into the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Request>,
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
        let postgres = (store.backend() == Backend::Postgres).then(postgres::Session::default);
        let task =
            Task { store, postgres, incarnation, seq: 0, clock, on_commit, options, carried: None };
        (Self { queue }, tokio::spawn(task.run(requests)))
    }

    /// Puts an append into the queue. Appends of one task are written in the order of the calls.
    pub fn enqueue(&self, append: Append) -> Result<Pending, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Append(Member { append, reply }))?;
        Ok(Pending(answer))
    }

    /// Writes an append, and gives its place once it is flushed.
    pub async fn append(&self, append: Append) -> Answer {
        self.enqueue(append)?.wait().await
    }

    /// Writes what `build` makes while the log lock is held, so that nothing can move meanwhile.
    /// For what has met too many conflicts: everybody else waits for `build`.
    pub async fn append_locked<F, Fut>(&self, build: F) -> Answer
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = BuildResult> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let build: Build = Box::new(move || Box::pin(build()));
        self.send(Request::Locked { build, reply })?;
        Pending(answer).wait().await
    }

    fn send(&self, request: Request) -> Result<(), AppendError> {
        self.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                metrics::counter!("stoa_log_queue_full_total").increment(1);
                AppendError::Busy
            }
            mpsc::error::TrySendError::Closed(_) => AppendError::Unavailable,
        })
    }
}

struct Task {
    store: Store,
    postgres: Option<postgres::Session>,
    incarnation: i64,
    seq: i64,
    clock: Clock,
    on_commit: Arc<dyn OnCommit>,
    options: WriterOptions,
    /// A request that was taken from the queue and did not fit into the batch before.
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
                Request::Locked { build, reply } => self.write_locked(build, reply).await,
                Request::Append(first) => {
                    let members = self.gather(first, &mut requests);
                    metrics::histogram!("stoa_log_group_size").record(members.len() as f64);
                    self.write_members(members).await;
                }
            }
        }
    }

    /// Takes what waits in the queue, as far as a batch's limits and order allow.
    fn gather(&mut self, first: Member, requests: &mut mpsc::Receiver<Request>) -> Vec<Member> {
        let mut bytes = first.append.weight();
        let mut members = vec![first];
        while members.len() < self.options.batch_members && bytes < self.options.batch_bytes {
            match requests.try_recv() {
                Ok(Request::Append(member)) => {
                    bytes += member.append.weight();
                    members.push(member);
                }
                Ok(locked) => {
                    self.carried = Some(locked);
                    break;
                }
                Err(_) => break,
            }
        }
        members
    }

    /// Writes the members, without those that conflict and those that were built on them.
    async fn write_members(&mut self, mut members: Vec<Member>) {
        loop {
            members = refuse_broken(members);
            if members.is_empty() {
                return;
            }
            let appends: Vec<&Append> = members.iter().map(|member| &member.append).collect();
            match self.write(&appends).await {
                Ok((batch, Written::Committed { prev, last })) => {
                    return self.finish(members, &batch, prev, last).await;
                }
                Ok((_, Written::Conflicts(conflicts))) => {
                    members = refuse_conflicting(members, &conflicts);
                }
                Err(AppendError::Refused(reason)) if members.len() > 1 => {
                    tracing::warn!(reason, members = members.len(), "a batch failed");
                    for member in members {
                        Box::pin(self.write_members(vec![member])).await;
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, members = members.len(), "appends failed");
                    metrics::counter!("stoa_log_failed_total").increment(members.len() as u64);
                    for member in members {
                        refuse(member, error.clone());
                    }
                    return;
                }
            }
        }
    }

    /// Writes a batch under a key of its own, as often as it takes to know what came of it.
    async fn write(&mut self, appends: &[&Append]) -> Result<(Batch, Written), AppendError> {
        let batch =
            Batch::join(appends).map_err(|error| AppendError::Refused(error.to_string()))?;
        self.seq += 1;
        let key = (self.incarnation, self.seq);
        let now_ms = self.clock.now_ms();
        let started = self.clock.monotonic();
        let written = match &mut self.postgres {
            None => sqlite::write(&self.store, &batch, key, now_ms).await,
            Some(session) => loop {
                let expected = self.on_commit.applied();
                match session.write(&self.store, &batch, key, now_ms, expected).await {
                    Err(error)
                        if postgres::is_outcome_unknown(&error)
                            && started.elapsed() < UNKNOWN_OUTCOME_LIMIT =>
                    {
                        tracing::warn!(%error, "the connection was lost while appending");
                        metrics::counter!("stoa_log_reconnects_total").increment(1);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    outcome => break outcome,
                }
            },
        };
        metrics::histogram!("stoa_log_lock_held_seconds").record(started.elapsed().as_secs_f64());
        match written {
            Ok(written) => Ok((batch, written)),
            Err(error) if postgres::is_outcome_unknown(&error) => {
                tracing::error!(%error, "the database cannot be reached");
                Err(AppendError::Unavailable)
            }
            Err(error) => Err(AppendError::Refused(error.to_string())),
        }
    }

    async fn finish(&mut self, members: Vec<Member>, batch: &Batch, prev: Pos, last: Pos) {
        let mut appends = Vec::with_capacity(members.len());
        let mut replies = Vec::with_capacity(members.len());
        for (member, base) in members.into_iter().zip(&batch.bases) {
            let base = Pos(prev.0 + base);
            note_commit(&member.append, base);
            appends.push((base, member.append));
            replies.push((member.reply, Appended { base, last }));
        }
        let committed = CommittedBatch { prev, last, touched: batch.touched.clone(), appends };
        self.on_commit.committed(&committed).await;
        metrics::counter!("stoa_log_appends_total").increment(replies.len() as u64);
        metrics::gauge!("stoa_log_position").set(last.0 as f64);
        for (reply, appended) in replies {
            // A caller that hung up does not hear of it; the append stands.
            let _ = reply.send(Ok(appended));
        }
    }

    async fn write_locked(&mut self, build: Build, reply: oneshot::Sender<Answer>) {
        let lock = match &mut self.postgres {
            None => Ok(()),
            Some(session) => session.lock(&self.store).await,
        };
        let append = match lock {
            Ok(()) => build().await,
            Err(error) => {
                tracing::error!(%error, "the log lock cannot be taken");
                Err(AppendError::Unavailable)
            }
        };
        match append {
            Ok(append) => self.write_members(vec![Member { append, reply }]).await,
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
        if let Some(session) = &mut self.postgres {
            session.unlock().await;
        }
    }
}

fn chain(append: &Append) -> Option<&Arc<Chain>> {
    append.guards.iter().find_map(|guard| match guard {
        Guard::State(chain) | Guard::Head(chain) => Some(chain),
        Guard::Session(_) => None,
    })
}

fn note_commit(append: &Append, base: Pos) {
    let Some(chain) = chain(append) else { return };
    for update in append.room_updates.iter().filter(|row| row.room_nid == chain.room()) {
        let absolute = |pos: Option<RelPos>| pos.map(|pos| Pos(base.0 + pos.0));
        chain.committed(absolute(update.state_pos), absolute(update.head_pos));
    }
}

fn refuse(member: Member, error: AppendError) {
    if let Some(chain) = chain(&member.append) {
        chain.break_off();
    }
    let _ = member.reply.send(Err(error));
}

fn refuse_broken(members: Vec<Member>) -> Vec<Member> {
    let is_broken = |guard: &Guard| match guard {
        Guard::State(chain) => chain.is_broken(),
        Guard::Head(chain) => chain.is_broken() || chain.has_moved_elsewhere(),
        Guard::Session(_) => false,
    };
    let mut whole = Vec::with_capacity(members.len());
    // One after the other: a refusal breaks the chain for those that come after.
    for member in members {
        if member.append.guards.iter().any(is_broken) {
            refuse(member, AppendError::Conflict);
        } else {
            whole.push(member);
        }
    }
    whole
}

fn refuse_conflicting(members: Vec<Member>, conflicts: &[Conflict]) -> Vec<Member> {
    metrics::counter!("stoa_log_conflicts_total").increment(conflicts.len() as u64);
    let mut kept = Vec::with_capacity(members.len());
    for (place, member) in members.into_iter().enumerate() {
        match conflicts.iter().find(|conflict| conflict.member == place) {
            Some(conflict) => refuse(member, conflict.to_error()),
            None => kept.push(member),
        }
    }
    kept
}
