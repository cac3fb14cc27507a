//! Requests that a device may repeat: what belongs to a transaction is sent once.

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
    log::{Append, AppendError, Guard},
    repo,
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{Result, RoomError, Rooms, change::ATTEMPTS};

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

impl Rooms {
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

/// Whether an error says that what was asked for must not or cannot be done, rather than that the
/// server cannot do it now, or that it does not know who asks.
const fn is_refusal(error: &RoomError) -> bool {
    match error {
        RoomError::Append(AppendError::Duplicate | AppendError::Refused(_)) => true,
        RoomError::Append(_) | RoomError::Storage(_) => false,
        _ => true,
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
