//! The appends that are about to be written together, and which of them must go.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::oneshot;
use tracing::{Span, field::Empty};

use super::{
    Append, AppendError, Appended, Chain, conflict::Conflict, joined_appends::JoinedAppends,
};

/// What the caller of an append hears.
pub(super) type Answer = Result<Appended, AppendError>;

/// An append with the way back to its caller.
pub(super) struct QueuedAppend {
    pub(super) append: Append,
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) spans: Spans,
}

/// The spans by which an append is followed through the queue to its caller.
pub(super) struct Spans {
    /// Of the append as a whole, within what its caller does.
    pub(super) append: Span,
    /// Of its time in the queue.
    queue: Span,
}

impl Spans {
    /// The spans of an append of about so many bytes, which enters the queue now.
    pub(super) fn begin(bytes: usize) -> Self {
        let append = tracing::debug_span!("append", bytes);
        let queue = append.in_scope(|| tracing::debug_span!("queue"));
        Self { append, queue }
    }

    /// Notes that the append has left the queue.
    pub(super) fn leave_queue(&mut self) {
        self.queue = Span::none();
    }

    /// The span in which these appends are written together. It belongs to the first of them that is
    /// followed, and the others are linked to it.
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

/// The appends of a batch, and those that had to go.
///
/// Who had to go hears of it when the others are written: whoever then looks for what was in the
/// way finds it.
#[derive(Default)]
pub(super) struct Group {
    appends: Vec<QueuedAppend>,
    refused: Vec<(oneshot::Sender<Answer>, AppendError)>,
}

impl Group {
    /// A group of those appends that were not built on something that has failed meanwhile.
    pub(super) fn new(appends: Vec<QueuedAppend>) -> Self {
        let mut group = Self { appends, refused: Vec::new() };
        group.refuse_where(Chain::is_broken);
        group
    }

    /// Refuses the appends that rest on what the log has lost.
    pub(super) fn refuse_lost(&mut self) {
        self.refuse_where(Chain::is_lost);
    }

    /// Refuses the appends that are part of such a chain.
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

    /// Refuses the appends concerned, and says whether there were any.
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

    /// Notes that the rooms of these appends have other extremities than their chains know.
    pub(super) fn lose_heads(&self, moved: &[usize]) {
        for queued in moved.iter().filter_map(|place| self.appends.get(*place)) {
            queued.append.chains().for_each(|chain| chain.note_moved_elsewhere());
        }
    }

    /// Has nothing more be built on what the appends were built on.
    pub(super) fn break_chains(&self) {
        self.appends.iter().flat_map(|queued| queued.append.chains()).for_each(|it| it.break_off());
    }

    /// Refuses all that are left.
    pub(super) fn refuse_all(&mut self, error: &AppendError) {
        let verdicts = self.appends.iter().map(|_| Some(error.clone())).collect();
        self.refuse_by(verdicts);
    }

    /// Refuses the appends with an error as their verdict, and whatever was built on them later.
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

    /// The appends that are left.
    pub(super) fn take_appends(&mut self) -> Vec<QueuedAppend> {
        std::mem::take(&mut self.appends)
    }

    /// Tells those who had to go.
    pub(super) fn answer_refused(&mut self) {
        for (reply, error) in self.refused.drain(..) {
            // A caller that hung up does not hear of it.
            let _ = reply.send(Err(error));
        }
    }
}
