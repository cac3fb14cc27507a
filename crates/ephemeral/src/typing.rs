//! Who is typing in which room.
//!
//! Reads are answered from this node's memory. Where nodes share a database, a change goes through
//! it: whatever changes while one batch is written is the next batch, and about once a second a
//! node looks for what others wrote. A node that is alone keeps all of it in memory.
//!
//! Users stop typing when their time is over, by the time of the database.
//!
//! Rooms that nobody typed in for [`RETAINED`] counts are forgotten. A reader below that horizon is
//! told of every room that is not remembered that nobody is typing there.

mod shared;
mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::{OwnedUserId, UserId};
use stoa_base::{Clock, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, Waiters};
use stoa_storage::{Backend, Store, log::Topic};
use tokio::{sync::Notify, task::JoinHandle};

use self::{shared::Shared, state::State};

/// How long a user may be typing without saying so again.
const MAX_TIMEOUT: Duration = Duration::from_mins(2);
/// How many users may be typing in one room: more are not worth telling anybody of.
const MAX_IN_ROOM: usize = 100;
/// How many users may be typing in all rooms, which bounds the memory that this takes.
const MAX_TYPING: usize = 50_000;
/// For how many counts a room in which nobody types any more is remembered.
const RETAINED: i64 = 100_000;

/// How long to wait before ending what is over again: what is over at nearly the same time ends
/// together.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a change of who is typing was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypingError {
    /// Too many changes wait to be written.
    #[error("too many changes are waiting to be written")]
    Busy,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Unavailable,
}

/// Who is typing in which room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Typing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    waiters: Waiters,
    state: Mutex<State>,
    /// What goes through the database, where others share it.
    shared: Option<Shared>,
    /// There is something to write, or to wait for.
    stirred: Notify,
}

impl Typing {
    /// Reads who is typing, and starts to follow it: looks at what other nodes wrote every
    /// `interval`, and ends what is over.
    pub async fn start(
        store: &Store,
        clock: Clock,
        waiters: Waiters,
        interval: Duration,
    ) -> stoa_storage::Result<(Self, JoinHandle<()>)> {
        let (epoch, shared) = match store.backend() {
            Backend::Postgres => (0, Some(Shared::new(store.clone(), interval))),
            Backend::Sqlite => (store.read().await?.now_ms().await?, None),
        };
        let typing = Self(Arc::new(Inner {
            clock,
            waiters,
            state: Mutex::new(State::new(epoch)),
            shared,
            stirred: Notify::new(),
        }));
        if let Some(shared) = &typing.0.shared {
            shared.exchange(&typing.0, &[]).await?;
        }
        let follower = typing.clone();
        let following = tokio::spawn(async move { follower.follow().await });
        Ok((typing, following))
    }

    /// The epoch of the counter.
    pub fn epoch(&self) -> i64 {
        self.0.state().epoch()
    }

    /// The count up to which this node knows who is typing.
    pub fn version(&self) -> i64 {
        self.0.state().counter()
    }

    /// Who is typing in a room, by user ID, and since which count it has been these.
    pub fn typing(&self, room: RoomNid) -> (i64, Vec<OwnedUserId>) {
        self.0.state().typing(room)
    }

    /// Who is typing in a room, where that changed after the count `since` of this epoch: nobody,
    /// if the last one stopped. A reader who knows another epoch asks for what changed since zero.
    pub fn changed_since(&self, room: RoomNid, since: i64) -> Option<(i64, Vec<OwnedUserId>)> {
        self.0.state().changed_since(room, since)
    }

    /// Says that a user is typing in a room, for `timeout` and two minutes at most, or, with none,
    /// that they are not. Returns when the readers on this node know.
    ///
    /// Where too many are typing already, one more is not told of.
    pub async fn set(
        &self,
        user_id: &UserId,
        room: RoomNid,
        timeout: Option<Duration>,
    ) -> Result<(), TypingError> {
        let timeout = timeout.map(|timeout| timeout.min(MAX_TIMEOUT));
        if timeout.is_some() && !self.0.state().has_place_for(user_id, room) {
            return Ok(());
        }
        match &self.0.shared {
            None => {
                let until = timeout.map(|timeout| self.0.clock.monotonic() + timeout);
                self.0.change_alone(room, Some((user_id, until)));
                self.0.stirred.notify_one();
                Ok(())
            }
            Some(shared) => {
                let written = shared.enqueue(user_id, room, timeout)?;
                self.0.stirred.notify_one();
                written.await.unwrap_or(Err(TypingError::Unavailable))
            }
        }
    }

    /// Writes what is to be written, looks at what others wrote, and ends what is over.
    async fn follow(&self) {
        let inner = &*self.0;
        let mut ended = inner.clock.monotonic();
        loop {
            let over = inner.state().next_deadline();
            let is_over = async {
                match over {
                    Some(over) => tokio::time::sleep_until(over.max(ended + PAUSE)).await,
                    None => std::future::pending().await,
                }
            };
            let look = async {
                match &inner.shared {
                    Some(shared) => tokio::time::sleep(shared.interval()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = inner.stirred.notified() => {}
                () = is_over => {}
                () = look => {}
            }
            let now = inner.clock.monotonic();
            let overdue = inner.state().overdue(now);
            if !overdue.is_empty() {
                ended = now;
            }
            match &inner.shared {
                None => {
                    for room in overdue {
                        inner.change_alone(room, None);
                    }
                }
                Some(shared) => {
                    if let Err(error) = shared.exchange(inner, &overdue).await {
                        tracing::warn!(%error, "who is typing cannot be written or read");
                        tokio::time::sleep(shared.interval()).await;
                    }
                }
            }
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change on a node that is alone, and ends what is over in the room.
    fn change_alone(&self, room: RoomNid, user: Option<(&UserId, Option<tokio::time::Instant>)>) {
        let is_news = self.state().change(room, user, self.clock.monotonic());
        if is_news {
            self.waiters.wake_topic(&Topic::from(room));
        }
    }
}

/// Who leaves a room stops typing there. The node that wrote the change sees to it.
impl CacheKeeper for Typing {
    fn apply(&self, batch: Batch<'_>) {
        let appends = batch.appends.into_iter().flatten();
        for row in appends.flat_map(|(_, append)| &append.memberships) {
            let Ok(user_id) = <&UserId>::try_from(row.user_id.as_str()) else { continue };
            if row.membership == "join" || !self.0.state().is_typing(user_id, row.room_nid) {
                continue;
            }
            match &self.0.shared {
                None => self.0.change_alone(row.room_nid, Some((user_id, None))),
                Some(shared) => {
                    // Where it cannot be written now, it ends when its time is over.
                    let _ = shared.enqueue(user_id, row.room_nid, None);
                    self.0.stirred.notify_one();
                }
            }
        }
    }

    /// Nothing of this comes from the log.
    fn clear(&self, _: Pos) {}
}
