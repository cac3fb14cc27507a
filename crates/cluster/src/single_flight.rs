//! If several callers want the same thing at the same time, one of them reads it for all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Tracks which keys are being read. Cheap to clone.
#[derive(Debug)]
pub struct SingleFlight<K>(Arc<Mutex<HashMap<K, watch::Receiver<()>>>>);

/// The keys that one caller reads for all. Dropping it makes the others look at the result.
#[derive(Debug)]
pub struct Claim<K: Eq + Hash> {
    flights: SingleFlight<K>,
    keys: Vec<K>,
    /// Waiting callers see it dropped.
    _landing: watch::Sender<()>,
}

/// A key that another caller is reading.
#[derive(Debug)]
pub struct Flight<K> {
    key: K,
    landing: watch::Receiver<()>,
}

impl<K> Default for SingleFlight<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for SingleFlight<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash> SingleFlight<K> {
    /// Splits `keys` into those that nobody is reading, which the caller has to read, and those
    /// that others are reading. Drop the claim before you wait for the latter, or two callers may
    /// wait for each other.
    pub fn claim(&self, keys: impl IntoIterator<Item = K>) -> (Claim<K>, Vec<Flight<K>>) {
        let (sender, receiver) = watch::channel(());
        let mut flights = self.lock();
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for key in keys {
            match flights.get(&key) {
                // The key was given twice.
                Some(landing) if landing.same_channel(&receiver) => {}
                Some(landing) => others.push(Flight { key, landing: landing.clone() }),
                None => {
                    flights.insert(key.clone(), receiver.clone());
                    mine.push(key);
                }
            }
        }
        drop(flights);
        (Claim { flights: self.clone(), keys: mine, _landing: sender }, others)
    }
}

impl<K: Clone + Eq + Hash> SingleFlight<K> {
    /// Returns what `look` finds in memory, or else what `read` returns after putting it there. Of
    /// several callers that want the same key at the same time, one reads, and the others look
    /// again once it is done. A caller that still finds nothing, because the value was not kept or
    /// is not what it needs, reads too.
    pub async fn look_or_read<T>(
        &self,
        key: K,
        look: impl Fn() -> Option<T>,
        read: impl Future<Output = T>,
    ) -> T {
        if let Some(found) = look() {
            return found;
        }
        let (_mine, others) = self.claim([key]);
        for other in others {
            other.landed().await;
            if let Some(found) = look() {
                return found;
            }
        }
        read.await
    }
}

impl<K> SingleFlight<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Claim<K> {
    /// The keys that the caller must read.
    pub fn keys(&self) -> &[K] {
        &self.keys
    }
}

impl<K: Eq + Hash> Drop for Claim<K> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        for key in &self.keys {
            flights.remove(key);
        }
    }
}

impl<K> Flight<K> {
    /// Returns once the other caller is done or has given up. What it read may be in the cache.
    pub async fn landed(mut self) -> K {
        // Nothing is ever sent; this ends when the claim is dropped.
        let _ = self.landing.changed().await;
        self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn kept_entries_are_read_once_and_others_by_every_caller() {
        for is_kept in [true, false] {
            let (flights, kept) = (SingleFlight::default(), Mutex::new(None));
            let reads = Mutex::new(0);
            let wants = (0..10).map(|_| {
                let read = async {
                    tokio::task::yield_now().await;
                    *reads.lock().unwrap() += 1;
                    *kept.lock().unwrap() = is_kept.then_some(7);
                    7
                };
                flights.look_or_read("a", || *kept.lock().unwrap(), read)
            });
            let found = futures_util::future::join_all(wants).await;
            assert_eq!(found, [7; 10]);
            assert_eq!(*reads.lock().unwrap(), if is_kept { 1 } else { 10 });
        }
    }

    #[tokio::test]
    async fn one_reads_and_the_others_wait_until_they_are_done() {
        let flights = SingleFlight::default();
        let (mine, others) = flights.claim(["a", "b", "a"]);
        assert_eq!((mine.keys(), others.len()), (&["a", "b"][..], 0));
        let (theirs, mut others) = flights.claim(["b", "c"]);
        assert_eq!(theirs.keys(), ["c"]);
        let waiting = tokio::spawn(others.pop().unwrap().landed());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(mine);
        assert_eq!(waiting.await.unwrap(), "b");
        assert_eq!(flights.claim(["a", "b"]).0.keys(), ["a", "b"]);
    }
}
