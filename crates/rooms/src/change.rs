//! Changing a room: building on its head, queueing what was built, and building anew where the room
//! moved meanwhile.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::OwnedEventId;
use stoa_base::{DeviceKey, Pos};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    Backend,
    log::{self, Append, AppendError, Appended, Guard},
    repo,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot},
    task::JoinError,
};

use crate::{
    Result, RoomError, Rooms,
    room::{Head, Room},
};

/// How often an event is built anew before the log is locked for it.
const ATTEMPTS: usize = 3;

/// How many bytes of transactions this node remembers, roughly. An older one is found in the
/// database.
const TRANSACTIONS: u64 = 8 << 20;

/// A request that its device may repeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// The device that sends it.
    pub device: DeviceKey,
    /// The endpoint, its parameters and the client's transaction ID.
    pub key: String,
}

/// What an event is built on, and what is to be written once it is.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) head: Head,
    pub(crate) append: Append,
}

/// What building came to.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is given")]
pub(crate) enum Built<T> {
    /// Something to write.
    New(Draft, T),
    /// Nothing to write: what was wanted is there already.
    Present(T),
}

impl Rooms {
    /// Builds a change on the head of `room` and writes it. `session` is the ID of the session for
    /// which it is done; if that has ended, nothing is written.
    ///
    /// `build` is called again where the room moved, so it must not have other effects. A refusal,
    /// and that there is nothing to do, count only once the log has confirmed what they rest on:
    /// this node's memory of the room may be behind other nodes, or ahead of what is flushed.
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
        for _ in 0..ATTEMPTS {
            let (answer, outcome) = {
                let mut slot = room.head.lock().await;
                let is_current = slot.as_ref().is_some_and(|head| !head.chain.is_broken());
                if room.take_stale() || !is_current {
                    // Whoever gives up now leaves nothing stale behind.
                    *slot = None;
                    room.settled().await;
                    *slot = Some(self.load_head(room).await?);
                }
                let Some(head) = slot.as_mut() else { continue };
                let (draft, outcome) = conclude(build(Draft::on(head)).await)?;
                if draft.is_none() && self.is_alone_and_settled(room) {
                    return outcome;
                }
                let mut draft = draft.unwrap_or_else(|| Draft::on(head));
                draft.guard(session);
                let pending = self.writer.enqueue(draft.append)?;
                *head = draft.head;
                room.in_flight.send_modify(|count| *count += 1);
                let room = Arc::clone(room);
                // In a task of its own: a client that hangs up cancels nothing.
                let answer = tokio::spawn(async move {
                    let answer = pending.wait().await;
                    room.in_flight.send_modify(|count| *count -= 1);
                    answer
                });
                (answer, outcome)
            };
            match answer.await {
                Ok(Ok(_)) => return outcome,
                Ok(Err(AppendError::Conflict)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(AppendError::Unavailable.into()),
            }
        }
        self.change_locked(room, session, build).await
    }

    /// As [`Rooms::change`], with the log locked while the change is built.
    async fn change_locked<T, F, Fut>(
        &self,
        room: &Arc<Room>,
        session: Option<&str>,
        build: F,
    ) -> Result<T>
    where
        F: Fn(Draft) -> Fut,
        Fut: Future<Output = Result<Built<T>>>,
    {
        let mut slot = room.head.lock().await;
        // What is still queued on the old head comes after the lock, and would be in the way.
        if let Some(head) = slot.take() {
            head.chain.break_off();
        }
        let (has_turn, turn) = oneshot::channel();
        let (hand_over, handed_over) = oneshot::channel();
        let writer = self.writer.clone();
        let written = tokio::spawn(async move {
            writer
                .append_locked(move || async move {
                    let _ = has_turn.send(());
                    handed_over.await.map_err(|_| AppendError::Conflict)
                })
                .await
        });
        if turn.await.is_err() {
            return Err(refusal(written.await).into());
        }
        let built = async {
            let head = self.load_head(room).await?;
            let (draft, outcome) = conclude(build(Draft::on(&head)).await)?;
            Ok::<_, RoomError>((draft.unwrap_or_else(|| Draft::on(&head)), outcome))
        };
        // The writer waits no longer than this, so building on is of no use.
        let Ok(built) = tokio::time::timeout(log::BUILD_LIMIT, built).await else {
            return Err(AppendError::Busy.into());
        };
        let (mut draft, outcome) = built?;
        draft.guard(session);
        if hand_over.send(draft.append).is_err() {
            return Err(refusal(written.await).into());
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

    async fn load_head(&self, room: &Room) -> Result<Head> {
        let head = self.rooms.load_head(room).await?;
        Ok(head)
    }

    /// Whether this node's memory of the room is the room: no other node writes, and nothing of its
    /// own is under way.
    fn is_alone_and_settled(&self, room: &Room) -> bool {
        self.store.backend() == Backend::Sqlite && *room.in_flight.borrow() == 0
    }

    /// Sends what belongs to a transaction: once, however often the request is repeated, at once or
    /// later, here or on another node.
    pub(crate) async fn once<Fut>(
        &self,
        session: Option<&str>,
        transaction: Option<&Transaction>,
        send: impl Fn() -> Fut,
    ) -> Result<OwnedEventId>
    where
        Fut: Future<Output = Result<OwnedEventId>>,
    {
        let Some(transaction) = transaction else { return send().await };
        let _turn = self.transactions.turn(transaction).await;
        if let Some(event_id) = self.transactions.get(transaction) {
            self.confirm(session).await?;
            return Ok(event_id);
        }
        for _ in 0..ATTEMPTS {
            let error = match send().await {
                Ok(event_id) => return Ok(event_id),
                Err(error) => error,
            };
            if !is_refusal(&error) {
                return Err(error);
            }
            // The request may have succeeded before, and be refused only now: the sender may have
            // been banned since, or the room may have changed.
            if let Some(event_id) = self.sent_before(transaction).await? {
                self.confirm(session).await?;
                return Ok(event_id);
            }
            if !matches!(error, RoomError::Append(AppendError::Duplicate)) {
                return Err(error);
            }
            // The request that was in the way has failed, so this one is tried again.
        }
        Err(AppendError::Duplicate.into())
    }

    /// What was sent in a transaction, as the database has it.
    async fn sent_before(&self, transaction: &Transaction) -> Result<Option<OwnedEventId>> {
        let Transaction { device, key } = transaction;
        let mut conn = self.store.read().await?;
        let row = repo::events::by_transaction(&mut conn, device.as_str(), key).await?;
        let event_id = row.map(|row| OwnedEventId::try_from(row.event_id)).transpose();
        Ok(event_id.map_err(stoa_storage::Error::corrupt)?)
    }

    /// Makes sure that the session has not ended on another node, where nothing is written that
    /// would show it.
    async fn confirm(&self, session: Option<&str>) -> Result<()> {
        if let (Some(session), Backend::Postgres) = (session, self.store.backend()) {
            let mut append = Append::new();
            append.guards.push(Guard::Session(session.to_owned()));
            self.writer.append(append).await?;
        }
        Ok(())
    }
}

impl Draft {
    fn on(head: &Head) -> Self {
        Self { head: head.clone(), append: Append::new() }
    }

    /// Adds what must still be true when the append is written.
    pub(crate) fn guard(&mut self, session: Option<&str>) {
        let append = &mut self.append;
        let changes_state = append.room_updates.iter().any(|update| update.state_root.is_some());
        let chain = Arc::clone(&self.head.chain);
        append.guards.push(if changes_state { Guard::Head(chain) } else { Guard::State(chain) });
        append.guards.extend(session.map(|session| Guard::Session(session.to_owned())));
    }
}

/// Why nothing was written that was to be built under the log lock.
fn refusal(written: Result<Result<Appended, AppendError>, JoinError>) -> AppendError {
    match written {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => AppendError::Unavailable,
    }
}

/// Whether an error says that what was asked for must not or cannot be done, rather than that the
/// server cannot do it now, or that it does not know who asks.
const fn is_refusal(error: &RoomError) -> bool {
    match error {
        RoomError::Append(AppendError::Duplicate | AppendError::Refused(_)) => true,
        RoomError::Append(_) | RoomError::Storage(_) => false,
        _ => true,
    }
}

/// What is to be written, if anything is, and what is to be answered then.
fn conclude<T>(built: Result<Built<T>>) -> Result<(Option<Draft>, Result<T>)> {
    match built {
        Ok(Built::New(draft, value)) => Ok((Some(draft), Ok(value))),
        Ok(Built::Present(value)) => Ok((None, Ok(value))),
        Err(refusal @ RoomError::Forbidden(_)) => Ok((None, Err(refusal))),
        Err(error) => Err(error),
    }
}

/// What this node's devices sent lately and are sending now, by transaction.
#[derive(Debug)]
pub(crate) struct Transactions {
    sent: moka::sync::Cache<Transaction, OwnedEventId>,
    under_way: Mutex<HashMap<Transaction, Weak<AsyncMutex<()>>>>,
}

impl Default for Transactions {
    fn default() -> Self {
        let weigh = |transaction: &Transaction, event_id: &OwnedEventId| {
            let Transaction { device, key } = transaction;
            let weight = 256 + device.as_str().len() + key.len() + event_id.as_str().len();
            u32::try_from(weight).unwrap_or(u32::MAX)
        };
        let sent = moka::sync::Cache::builder().max_capacity(TRANSACTIONS).weigher(weigh).build();
        Self { sent, under_way: Mutex::default() }
    }
}

impl Transactions {
    pub(crate) fn bytes(&self) -> u64 {
        self.sent.run_pending_tasks();
        self.sent.weighted_size()
    }

    fn get(&self, transaction: &Transaction) -> Option<OwnedEventId> {
        self.sent.get(transaction)
    }

    /// Waits until no other request of the same transaction is under way.
    async fn turn(&self, transaction: &Transaction) -> OwnedMutexGuard<()> {
        let turns = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if under_way.len() > 1_000 {
                under_way.retain(|_, turns| turns.strong_count() > 0);
            }
            let known = under_way.get(transaction).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turns = Arc::default();
                under_way.insert(transaction.clone(), Arc::downgrade(&turns));
                turns
            })
        };
        turns.lock_owned().await
    }
}

impl CacheKeeper for Transactions {
    fn apply(&self, batch: Batch<'_>) {
        for row in batch.appends.into_iter().flatten().flat_map(|(_, append)| &append.events) {
            if let (Some(device), Some(key), Ok(event_id)) =
                (&row.txn_device, &row.txn_id, OwnedEventId::try_from(row.event_id.as_str()))
            {
                let transaction = Transaction { device: device.clone().into(), key: key.clone() };
                self.sent.insert(transaction, event_id);
            }
        }
    }

    /// Transactions do not go stale.
    fn clear(&self, _: Pos) {}

    fn forget(&self, _: Pos) {
        self.sent.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_transactions_do_not_fill_the_memory() {
        let transactions = Transactions::default();
        for n in 0..50_000 {
            let transaction =
                Transaction { device: "@a:x D".to_owned().into(), key: format!("{n:0500}") };
            transactions.sent.insert(transaction, ruma::owned_event_id!("$e"));
        }
        assert!(transactions.bytes() <= TRANSACTIONS);
        assert!(transactions.sent.entry_count() > 1_000);
    }
}
