//! What devices sent recently and are sending now, by transaction.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use moka::sync::Cache;
use ruma::{OwnedEventId, TransactionId};
use stoa_base::{DeviceKey, Pos};
use stoa_cluster::{Batch, CacheKeeper};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{
    error::{Result, RoomError},
    graph::pdu::MAX_ID_BYTES,
};

/// How many bytes of transactions this node remembers, roughly. Older ones are found in the
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

impl Transaction {
    /// The transaction of a request. `endpoint` includes the parameters that distinguish it from
    /// other requests; `id` is the client's transaction ID.
    pub fn new(device: DeviceKey, endpoint: &str, id: &TransactionId) -> Result<Self> {
        if id.as_str().len() > MAX_ID_BYTES {
            let why = format!("a transaction ID can have at most {MAX_ID_BYTES} bytes");
            return Err(RoomError::InvalidParam(why));
        }
        let id = escape(id.as_str());
        Ok(Self { device, key: format!("{endpoint} {id}") })
    }

    /// The client's transaction ID in a transaction key.
    pub(crate) fn id_of(key: &str) -> Option<String> {
        // It follows the endpoint and its parameters.
        key.rsplit_once(' ').map(|(_, id)| unescape(id))
    }
}

/// Escapes a transaction ID, which may contain any characters, so that it contains no space and
/// nothing that a database refuses.
fn escape(id: &str) -> String {
    id.replace('%', "%25").replace(' ', "%20").replace('\0', "%00")
}

fn unescape(id: &str) -> String {
    id.replace("%00", "\0").replace("%20", " ").replace("%25", "%")
}

/// What devices sent to this node recently and are sending now, by transaction.
#[derive(Debug)]
pub(crate) struct Transactions {
    sent: Cache<Transaction, OwnedEventId>,
    under_way: Mutex<HashMap<Transaction, Weak<AsyncMutex<()>>>>,
}

impl Default for Transactions {
    fn default() -> Self {
        let weigh = |transaction: &Transaction, event_id: &OwnedEventId| {
            let Transaction { device, key } = transaction;
            let weight = 256 + device.as_str().len() + key.len() + event_id.as_str().len();
            u32::try_from(weight).unwrap_or(u32::MAX)
        };
        let sent = Cache::builder().max_capacity(TRANSACTIONS).weigher(weigh).build();
        Self { sent, under_way: Mutex::default() }
    }
}

impl Transactions {
    pub(crate) fn bytes(&self) -> u64 {
        self.sent.run_pending_tasks();
        self.sent.weighted_size()
    }

    pub(crate) fn get(&self, transaction: &Transaction) -> Option<OwnedEventId> {
        self.sent.get(transaction)
    }

    /// Waits until no other request of the same transaction is in progress.
    pub(crate) async fn turn(&self, transaction: &Transaction) -> OwnedMutexGuard<()> {
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
    fn the_longest_transactions_do_not_exceed_the_memory_limit() {
        let transactions = Transactions::default();
        for n in 0..50_000 {
            let transaction =
                Transaction { device: "@a:x D".to_owned().into(), key: format!("{n:0500}") };
            transactions.sent.insert(transaction, ruma::owned_event_id!("$e"));
        }
        assert!(transactions.bytes() <= TRANSACTIONS);
        assert!(transactions.sent.entry_count() > 1_000);
    }

    #[test]
    fn any_transaction_id_can_be_escaped_and_unescaped() {
        for id in ["m1", "a b", "100%", "%20", "\0", "%2520 %00"] {
            assert_eq!(unescape(&escape(id)), id);
            assert!(!escape(id).contains([' ', '\0']));
        }
    }
}
