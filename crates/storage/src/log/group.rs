//! The appends that are about to be written together, without those that must be refused.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::oneshot;
use tracing::{Span, field::Empty};

use super::{
    Append, AppendError, Appended, Chain, conflict::Conflict, joined_appends::JoinedAppends,
};

/// The answer that the caller of an append gets.
pub(super) type Answer = Result<Appended, AppendError>;

/// An append and the channel that answers its caller.
pub(super) struct QueuedAppend {
    pub(super) append: Append,
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) spans: Spans,
}

/// The spans that follow an append through the queue and back to its caller.
pub(super) struct Spans {
    /// Covers the append as a whole, inside the caller's span.
    pub(super) append: Span,
    /// Covers the time in the queue.
    queue: Span,
}

impl Spans {
    /// Spans for an append of about `bytes` bytes that enters the queue now.
    pub(super) fn begin(bytes: usize) -> Self {
        let append = tracing::debug_span!("append", bytes);
        let queue = append.in_scope(|| tracing::debug_span!("queue"));
        Self { append, queue }
    }

    /// Notes that the append has left the queue.
    pub(super) fn leave_queue(&mut self) {
        self.queue = Span::none();
    }

    /// The span in which these appends are written together. It belongs to the first append that is
    /// traced, and the other traced appends are linked to it.
    pub(super) fn of_writing<'a>(appends: impl ExactSizeIterator<Item = &'a Self>) -> Span {
        let number = appends.len();
        let mut followed = appends.map(|spans| &spans.append).filter(|span| !span.is_disabled());
        let Some(first) = followed.next() else { return Span::none() };
        let writing = first
            .in_scope(|| tracing::debug_span!("write", appends = number, lock_wait_us = Empty));
        followed.for_each(|other| {
            other.follows_from(&writing);
        });
        writing
    }
}

/// The appends of a batch, and those that were refused.
///
/// Refusals are answered only after the others are written, so that a caller who then looks for
/// what was in the way finds it.
#[derive(Default)]
pub(super) struct Group {
    appends: Vec<QueuedAppend>,
    refused: Vec<(oneshot::Sender<Answer>, AppendError)>,
}

impl Group {
    /// A group of the appends whose chains have not failed meanwhile.
    pub(super) fn new(appends: Vec<QueuedAppend>) -> Self {
        let mut group = Self { appends, refused: Vec::new() };
        group.refuse_where(Chain::is_broken);
        group
    }

    /// Refuses the appends that are built on something the log has lost.
    pub(super) fn refuse_lost(&mut self) {
        self.refuse_where(Chain::is_lost);
    }

    /// Refuses the appends that belong to a matching chain.
    fn refuse_where(&mut self, is_so: fn(&Chain) -> bool) {
        let verdict = |queued: &QueuedAppend| {
            queued.append.chains().any(|chain| is_so(chain)).then_some(AppendError::Conflict)
        };
        let verdicts = self.appends.iter().map(verdict).collect();
        self.refuse_by(verdicts);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.appends.len()
    }

    pub(super) fn join(&self) -> serde_json::Result<JoinedAppends> {
        JoinedAppends::new(&self.appends())
    }

    pub(super) fn appends(&self) -> Vec<&Append> {
        self.appends.iter().map(|queued| &queued.append).collect()
    }

    /// Refuses the appends concerned, and returns whether there were any.
    pub(super) fn refuse_conflicting(&mut self, conflicts: &[Conflict]) -> bool {
        let before = self.appends.len();
        let verdicts = self.appends.iter().enumerate().map(|(place, queued)| {
            let conflict = conflicts.iter().find(|it| it.concerns(place, &queued.append));
            conflict.map(Conflict::to_error)
        });
        let verdicts = verdicts.collect();
        self.refuse_by(verdicts);
        self.appends.len() < before
    }

    /// Notes that the rooms of these appends have extremities that their chains do not know.
    pub(super) fn lose_heads(&self, moved: &[usize]) {
        for queued in moved.iter().filter_map(|place| self.appends.get(*place)) {
            queued.append.chains().for_each(|chain| chain.note_moved_elsewhere());
        }
    }

    /// Breaks the chains of these appends, so that nothing more is built on them.
    pub(super) fn break_chains(&self) {
        self.appends.iter().flat_map(|queued| queued.append.chains()).for_each(|it| it.break_off());
    }

    /// Refuses all remaining appends.
    pub(super) fn refuse_all(&mut self, error: &AppendError) {
        let verdicts = self.appends.iter().map(|_| Some(error.clone())).collect();
        self.refuse_by(verdicts);
    }

    /// Refuses the appends that have an error as their verdict, and later appends built on them.
    fn refuse_by(&mut self, verdicts: Vec<Option<AppendError>>) {
        if verdicts.iter().all(Option::is_none) {
            return;
        }
        let mut broken: HashSet<*const Chain> = HashSet::new();
        let appends = std::mem::take(&mut self.appends);
        for (queued, verdict) in appends.into_iter().zip(verdicts) {
            let follows = queued.append.chains().any(|chain| broken.contains(&Arc::as_ptr(chain)));
            match verdict.or(follows.then_some(AppendError::Conflict)) {
                None => self.appends.push(queued),
                Some(error) => {
                    for chain in queued.append.chains() {
                        chain.break_off();
                        broken.insert(Arc::as_ptr(chain));
                    }
                    self.refused.push((queued.reply, error));
                }
            }
        }
    }

    /// Takes the remaining appends.
    pub(super) fn take_appends(&mut self) -> Vec<QueuedAppend> {
        std::mem::take(&mut self.appends)
    }

    /// Answers the callers of refused appends.
    pub(super) fn answer_refused(&mut self) {
        for (reply, error) in self.refused.drain(..) {
            // The caller may have hung up.
            let _ = reply.send(Err(error));
        }
    }
}
