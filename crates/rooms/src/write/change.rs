//! Changing a room: building on its head, queueing what was built, and building again if the room
//! has moved in the meantime.
//!
//! A change is first tried on the head in memory ([`Mode::OnHead`]). Others may build on the same
//! room at the same time, also through other nodes, so the append states what it relies on. If that
//! no longer holds when the append is written, it conflicts, and the change is tried again. After
//! [`ATTEMPTS`] conflicts it is built while the log is locked ([`Mode::Locked`]), when nothing can
//! get ahead of it.

use std::{future::Future, sync::Arc};

use stoa_storage::{
    Backend, Store,
    log::{self, Append, AppendError, Appended, Guard, Pending, Writer},
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    cache::{
        known_rooms::KnownRooms,
        room::{Head, Room},
    },
    error::{Result, RoomError},
};

/// How often an event is built before the log is locked for it.
pub(crate) const ATTEMPTS: usize = 3;

/// What an event is built on, and what to write once it is built.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) head: Head,
    pub(crate) append: Append,
}

/// The result of building.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is given")]
pub(crate) enum Built<T> {
    /// Something to write.
    New(Draft, T),
    /// Nothing to write: the desired result already exists.
    Present(T),
}

/// How a change is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// On the head in memory. Attempts are counted from 1.
    OnHead { attempt: usize },
    /// While the log is locked.
    Locked,
}

impl Mode {
    const FIRST: Self = Self::OnHead { attempt: 1 };

    /// The mode of the next attempt after the room has moved.
    const fn after_conflict(self) -> Self {
        match self {
            Self::OnHead { attempt } if attempt < ATTEMPTS => Self::OnHead { attempt: attempt + 1 },
            Self::OnHead { .. } | Self::Locked => Self::Locked,
        }
    }
}

/// The result of trying a change on the head in memory.
enum Tried<T> {
    /// The log has confirmed the outcome of the change.
    Confirmed(Result<T>),
    /// The room has moved.
    Conflicted,
}

/// A change of a room.
struct Change<'c, F> {
    changes: &'c Changes,
    room: &'c Arc<Room>,
    session: Option<&'c str>,
    build: F,
}

/// Changes rooms.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) store: Store,
    pub(crate) writer: Writer,
}

impl Changes {
    /// Builds a change on the head of `room` and writes it. `session` is the ID of the session that
    /// asked for it; if that session has ended, nothing is written.
    ///
    /// `build` is called again if the room has moved, so it must not have other side effects. A
    /// refusal, or the answer that there is nothing to do, is returned only once the log has
    /// confirmed what it is based on: this node's memory of the room may be behind other nodes, or
    /// ahead of what is flushed.
    #[tracing::instrument(name = "change_room", level = "debug", skip_all)]
    pub(crate) async fn change<T, F, Fut>(
        &self,
        room: &Arc<Room>,
        session: Option<&str>,
        build: F,
    ) -> Result<T>
    where
        F: Fn(Draft) -> Fut,
        Fut: Future<Output = Result<Built<T>>>,
    {
        let change = Change { changes: self, room, session, build };
        let mut mode = Mode::FIRST;
        loop {
            match mode {
                Mode::OnHead { .. } => match change.try_on_head().await? {
                    Tried::Confirmed(outcome) => return outcome,
                    Tried::Conflicted => mode = mode.after_conflict(),
                },
                Mode::Locked => return change.make_locked().await,
            }
        }
    }
}

impl<T, F, Fut> Change<'_, F>
where
    F: Fn(Draft) -> Fut,
    Fut: Future<Output = Result<Built<T>>>,
{
    /// Builds on the head in memory and moves that head on immediately, so that the next change is
    /// built on this one although it has not been written yet.
    async fn try_on_head(&self) -> Result<Tried<T>> {
        let (answer, outcome) = {
            let mut slot = self.room.head.lock().await;
            let head = self.current_head(&mut slot).await?;
            let (draft, outcome) = self.build_on(head).await?;
            if draft.is_none() && self.is_alone_and_settled() {
                return Ok(Tried::Confirmed(outcome));
            }
            let mut draft = draft.unwrap_or_else(|| Draft::on(head));
            draft.guard(self.session);
            let pending = self.changes.writer.enqueue(draft.append)?;
            *head = draft.head;
            (self.answer(pending), outcome)
        };
        match answer.await {
            Ok(Ok(_)) => Ok(Tried::Confirmed(outcome)),
            Ok(Err(AppendError::Conflict)) => Ok(Tried::Conflicted),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AppendError::Unavailable.into()),
        }
    }

    /// The head in memory, or one loaded from the database if the one in memory must no longer be
    /// built on.
    async fn current_head<'h>(&self, slot: &'h mut Option<Head>) -> Result<&'h mut Head> {
        let is_stale = self.room.take_stale();
        // The head is taken out: if the caller is cancelled here, no stale head is left behind.
        let head = match slot.take() {
            Some(head) if !is_stale && !head.chain.is_broken() => head,
            _ => {
                self.room.settled().await;
                self.changes.known.load_head(self.room).await?
            }
        };
        Ok(slot.insert(head))
    }

    /// Waits for a queued append in a separate task, so that a client that hangs up cancels
    /// nothing.
    fn answer(&self, pending: Pending) -> JoinHandle<Result<Appended, AppendError>> {
        let room = Arc::clone(self.room);
        room.in_flight.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let answer = pending.wait().await;
            room.in_flight.send_modify(|count| *count -= 1);
            answer
        })
    }

    /// Builds while the log is locked.
    async fn make_locked(&self) -> Result<T> {
        let mut slot = self.room.head.lock().await;
        // Appends that are still queued on the old head come after the lock and would be in the
        // way.
        if let Some(head) = slot.take() {
            head.chain.break_off();
        }
        let (has_turn, turn) = oneshot::channel();
        let (hand_over, handed_over) = oneshot::channel();
        let writer = self.changes.writer.clone();
        let written = tokio::spawn(async move {
            writer
                .append_locked(move || async move {
                    let _ = has_turn.send(());
                    handed_over.await.map_err(|_| AppendError::Conflict)
                })
                .await
        });
        if turn.await.is_err() {
            return Err(why_not(written).await.into());
        }
        let built = async {
            let head = self.changes.known.load_head(self.room).await?;
            let (draft, outcome) = self.build_on(&head).await?;
            Ok::<_, RoomError>((draft.unwrap_or_else(|| Draft::on(&head)), outcome))
        };
        // The writer does not wait any longer than this, so continuing to build would be pointless.
        let Ok(built) = tokio::time::timeout(log::BUILD_LIMIT, built).await else {
            return Err(AppendError::Busy.into());
        };
        let (mut draft, outcome) = built?;
        draft.guard(self.session);
        if hand_over.send(draft.append).is_err() {
            return Err(why_not(written).await.into());
        }
        match written.await {
            Ok(Ok(_)) => {
                *slot = Some(draft.head);
                outcome
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AppendError::Unavailable.into()),
        }
    }

    /// Calls `build`. Gives what to write, if anything, and what to answer after that.
    async fn build_on(&self, head: &Head) -> Result<(Option<Draft>, Result<T>)> {
        match (self.build)(Draft::on(head)).await {
            Ok(Built::New(draft, value)) => Ok((Some(draft), Ok(value))),
            Ok(Built::Present(value)) => Ok((None, Ok(value))),
            Err(refusal @ RoomError::Forbidden(_)) => Ok((None, Err(refusal))),
            Err(error) => Err(error),
        }
    }

    /// Whether this node's memory of the room is certainly current: no other node writes, and none
    /// of its own appends are in progress.
    fn is_alone_and_settled(&self) -> bool {
        self.changes.store.backend() == Backend::Sqlite && *self.room.in_flight.borrow() == 0
    }
}

impl Draft {
    fn on(head: &Head) -> Self {
        Self { head: head.clone(), append: Append::new() }
    }

    /// Adds guards for what must still hold when the append is written.
    pub(crate) fn guard(&mut self, session: Option<&str>) {
        let append = &mut self.append;
        let changes_state = append.room_updates.iter().any(|update| update.state_root.is_some());
        let chain = Arc::clone(&self.head.chain);
        append.guards.push(if changes_state { Guard::Head(chain) } else { Guard::State(chain) });
        append.guards.extend(session.map(|session| Guard::Session(session.to_owned())));
    }
}

/// Why a change that was to be built under the log lock was not written.
async fn why_not(written: JoinHandle<Result<Appended, AppendError>>) -> AppendError {
    match written.await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => AppendError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_locked_after_three_attempts() {
        let mut mode = Mode::FIRST;
        for attempt in 1..=3 {
            assert_eq!(mode, Mode::OnHead { attempt });
            mode = mode.after_conflict();
        }
        assert_eq!(mode, Mode::Locked);
        assert_eq!(mode.after_conflict(), Mode::Locked);
    }
}
