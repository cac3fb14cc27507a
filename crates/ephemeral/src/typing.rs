//! Typing notifications.
//!
//! Reads are answered from this node's memory. If nodes share a database, changes go through it:
//! the changes that arrive while one batch is written form the next one, and about once a second a
//! node looks for changes of other nodes. On SQLite, where there is only one node, all of it is in
//! memory.
//!
//! Users stop typing when their timeout has passed, by the database's clock.
//!
//! Rooms without a change for [`RETAINED`] counts are forgotten. A reader below that horizon is
//! told for every forgotten room that nobody is typing there.

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

/// The maximum timeout, after which a client has to say again that its user is typing.
const MAX_TIMEOUT: Duration = Duration::from_mins(2);
/// How many users can be typing in one room. Clients have no use for more.
const MAX_IN_ROOM: usize = 100;
/// How many users can be typing in all rooms, which bounds the memory that this takes.
const MAX_TYPING: usize = 50_000;
/// For how many counts a room is remembered after its last change.
const RETAINED: i64 = 100_000;

/// The minimum time between two rounds of ending expired typing, so that users who expire at nearly
/// the same time end together.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a typing notification was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypingError {
    /// Too many changes are waiting to be written.
    #[error("too many changes are waiting to be written")]
    Busy,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Unavailable,
}

/// The users who are typing, by room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Typing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    waiters: Waiters,
    state: Mutex<State>,
    /// The exchange with other nodes through the database, on PostgreSQL.
    shared: Option<Shared>,
    /// Notified when there is a change to write or a new deadline to wait for.
    stirred: Notify,
}

impl Typing {
    /// Reads who is typing, and starts a task that reads the changes of other nodes every
    /// `interval` and ends typing that has expired.
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

    /// The count up to which this node knows all changes.
    pub fn version(&self) -> i64 {
        self.0.state().counter()
    }

    /// The users who are typing in a room, by user ID, and the count at which they last changed.
    pub fn typing(&self, room: RoomNid) -> (i64, Vec<OwnedUserId>) {
        self.0.state().typing(room)
    }

    /// The users who are typing in a room, if they changed after the count `since` of this epoch.
    /// The list is empty if the last one stopped. A reader who comes from another epoch passes
    /// zero.
    pub fn changed_since(&self, room: RoomNid, since: i64) -> Option<(i64, Vec<OwnedUserId>)> {
        self.0.state().changed_since(room, since)
    }

    /// Sets that a user is typing in a room for `timeout`, at most two minutes, or, without a
    /// timeout, that they have stopped. Returns when readers on this node see the change.
    ///
    /// If too many users are already typing, one more is ignored.
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

    /// Writes changes, reads those of other nodes, and ends typing that has expired.
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
                        tracing::warn!(%error, "cannot write or read typing notifications");
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

    /// Makes a change in memory only, and ends expired typing in the room.
    fn change_alone(&self, room: RoomNid, user: Option<(&UserId, Option<tokio::time::Instant>)>) {
        let is_news = self.state().change(room, user, self.clock.monotonic());
        if is_news {
            self.waiters.wake_topic(&Topic::from(room));
        }
    }
}

/// A user who leaves a room stops typing there. The node that wrote the membership ends it.
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
                    // If this cannot be written now, the typing ends with its timeout.
                    let _ = shared.enqueue(user_id, row.room_nid, None);
                    self.0.stirred.notify_one();
                }
            }
        }
    }

    /// Nothing here comes from the log.
    fn clear(&self, _: Pos) {}
}
