//! Typing notifications that nodes share through their database.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::{OwnedUserId, UserId};
use stoa_base::RoomNid;
use stoa_storage::{
    Conn, Result, Store,
    log::Topic,
    repo::typing::{self, TypingChange, TypingRoom},
};
use tokio::{sync::oneshot, time::Instant};

use super::{Inner, RETAINED, TypingError, state::TypingInRoom};

/// How many callers may wait for a change to be written.
const MAX_WAITING: usize = 10_000;
/// How many rooms are read at once.
const PAGE: usize = 1_000;

type Answer = std::result::Result<(), TypingError>;

/// The exchange of changes with the database.
#[derive(Debug)]
pub(super) struct Shared {
    store: Store,
    interval: Duration,
    pending: Mutex<Pending>,
}

/// The changes for the next write; for each user in a room, only the last one.
#[derive(Debug, Default)]
struct Pending {
    changes: HashMap<(RoomNid, OwnedUserId), Option<Duration>>,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Shared {
    pub(super) fn new(store: Store, interval: Duration) -> Self {
        Self { store, interval, pending: Mutex::default() }
    }

    /// How often to look for changes of other nodes.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change to the next write, and returns a receiver for its outcome.
    pub(super) fn enqueue(
        &self,
        user_id: &UserId,
        room: RoomNid,
        timeout: Option<Duration>,
    ) -> std::result::Result<oneshot::Receiver<Answer>, TypingError> {
        let mut pending = self.pending();
        if pending.waiting.len() >= MAX_WAITING {
            return Err(TypingError::Busy);
        }
        let (reply, written) = oneshot::channel();
        pending.changes.insert((room, user_id.to_owned()), timeout);
        pending.waiting.push(reply);
        Ok(written)
    }

    /// Writes the pending changes, ends expired typing in the rooms `overdue`, and reads new
    /// changes.
    pub(super) async fn exchange(&self, inner: &Inner, overdue: &[RoomNid]) -> Result<()> {
        let Pending { changes, waiting } = std::mem::take(&mut *self.pending());
        let changes: Vec<TypingChange> = changes
            .into_iter()
            .map(|((room, user_id), timeout)| change(room, user_id, timeout))
            .chain(overdue.iter().map(|room| TypingChange {
                room_nid: *room,
                user_id: None,
                timeout_ms: None,
            }))
            .collect();
        let outcome = self.write_and_read(inner, &changes).await;
        for reply in waiting {
            // A caller that is gone needs no answer.
            let _ = reply.send(outcome.as_ref().map_err(|_| TypingError::Unavailable).copied());
        }
        outcome
    }

    async fn write_and_read(&self, inner: &Inner, changes: &[TypingChange]) -> Result<()> {
        let mut conn = self.store.read().await?;
        if !changes.is_empty() {
            typing::change(&mut conn, changes, RETAINED).await?;
        }
        loop {
            let (epoch, counter) = {
                let state = inner.state();
                (state.epoch(), state.counter())
            };
            let Some(news) = typing::news(&mut conn, epoch, counter, PAGE).await? else {
                // This is the first read of all, or the first after a crash of the database.
                typing::change(&mut conn, &[], RETAINED).await?;
                continue;
            };
            if news.epoch != epoch {
                carry_over(inner, &mut conn, news.epoch).await?;
                continue;
            }
            let now = inner.clock.monotonic();
            // The changes and the counter are updated together, so a reader who sees a change also
            // sees its count.
            let changed: Vec<Topic> = {
                let mut state = inner.state();
                let mut put = |room: TypingRoom| {
                    let nid = room.room;
                    state.put(nid, in_memory(room, now)).then(|| Topic::from(nid))
                };
                let changed = news.rooms.into_iter().filter_map(&mut put).collect();
                state.advance(news.counter);
                changed
            };
            for topic in &changed {
                inner.waiters.wake_topic(topic);
            }
            if !news.more {
                return Ok(());
            }
        }
    }
}

/// Begins another epoch with the users who were typing in the last one, so that readers who were
/// told of them are also told when they stop.
async fn carry_over(inner: &Inner, conn: &mut Conn, epoch: i64) -> Result<()> {
    let known = inner.state().begin(epoch);
    if known.is_empty() {
        return Ok(());
    }
    let now = inner.clock.monotonic();
    let known = known.into_iter().map(|(room, user_id, until)| {
        let rest = until.saturating_duration_since(now).max(Duration::from_millis(1));
        change(room, user_id, Some(rest))
    });
    let known: Vec<TypingChange> = known.collect();
    typing::change(conn, &known, RETAINED).await
}

fn change(room: RoomNid, user_id: OwnedUserId, timeout: Option<Duration>) -> TypingChange {
    let to_ms = |timeout: Duration| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    TypingChange { room_nid: room, user_id: Some(user_id.into()), timeout_ms: timeout.map(to_ms) }
}

/// Converts a room that was read just before `now`.
fn in_memory(room: TypingRoom, now: Instant) -> TypingInRoom {
    let users = room.typing.into_iter().filter_map(|(user_id, rest_ms)| {
        let rest = Duration::from_millis(u64::try_from(rest_ms).unwrap_or(0));
        Some((OwnedUserId::try_from(user_id).ok()?, now + rest))
    });
    TypingInRoom { written: room.written, version: room.version, users: users.collect() }
}
