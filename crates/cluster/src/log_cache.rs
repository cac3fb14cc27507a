//! A cache of the database that follows the log.
//!
//! A reader takes a [`Ticket`] before it reads for the cache. The result is inserted only if
//! nothing that might be the same entry was dropped or changed since. That is checked under the
//! same lock under which entries are dropped, so an entry is never visible, not even for a moment,
//! once the log has said that it is stale.
//!
//! Dropping entries by a condition on their contents is implemented here rather than with
//! `invalidate_entries_if` of `moka`. That function misses an entry inserted a moment ago if the
//! cache does its maintenance at the same time, and returns it again later.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use crate::SingleFlight;

/// The number of locks. The key of an entry decides under which one it is inserted and dropped.
const SHARDS: usize = 64;

/// The cache's own overhead per entry in bytes, roughly.
const ENTRY: usize = 200;

/// If an entry is larger than this fraction of the cache, others are evicted at once rather than a
/// moment later.
const LARGE: u64 = 512;

/// How many conditional drops are collected before the entries they concern are looked for. Until
/// then, each lookup checks whether its entry is one of them.
const DROPS: usize = 32;

/// A cache of entries that are read from the database, and dropped or changed as the log says.
///
/// It is bounded in bytes, by the weights of its entries. The least recently used entries are
/// evicted first.
pub struct LogCache<K, V> {
    entries: Cache<K, Entry<V>>,
    max_bytes: u64,
    weigh: Weigh<K, V>,
    /// How often an entry of the shard was dropped or changed.
    shards: [Mutex<u64>; SHARDS],
    drops: RwLock<Drops<K, V>>,
    reading: SingleFlight<K>,
}

type Weigh<K, V> = Arc<dyn Fn(&K, &V) -> usize + Send + Sync>;
type IsStale<K, V> = Box<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// A cached value, and how many conditional drops happened before it was inserted.
#[derive(Clone)]
struct Entry<V> {
    value: V,
    drops_before: u64,
}

/// Conditional drops whose entries may still be in the cache.
struct Drops<K, V> {
    count: u64,
    /// The most recent conditions, each with its number.
    last: Vec<(u64, IsStale<K, V>)>,
}

impl<K, V> Drops<K, V> {
    fn concern(&self, key: &K, entry: &Entry<V>) -> bool {
        self.last
            .iter()
            .any(|(number, is_stale)| *number > entry.drops_before && is_stale(key, &entry.value))
    }
}

/// Marks when the reading of entries began.
#[derive(Clone, Debug)]
pub struct Ticket([u64; SHARDS]);

impl<K, V> LogCache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of at most `max_bytes`. `weigh` gives the bytes of an entry on the heap, roughly.
    pub fn new(max_bytes: u64, weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        Self::build(max_bytes, None, EvictionPolicy::lru(), weigh)
    }

    /// Like [`LogCache::new`], but no entry is kept for longer than `lifetime`.
    pub fn with_lifetime(
        max_bytes: u64,
        lifetime: Duration,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        Self::build(max_bytes, Some(lifetime), EvictionPolicy::lru(), weigh)
    }

    /// Like [`LogCache::new`], but the entries that are used most often stay, rather than those that
    /// were used last. One user who reads many entries in turn cannot evict everyone else's.
    pub fn of_frequent(
        max_bytes: u64,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        Self::build(max_bytes, None, EvictionPolicy::tiny_lfu(), weigh)
    }

    fn build(
        max_bytes: u64,
        lifetime: Option<Duration>,
        policy: EvictionPolicy,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        let weigh: Weigh<K, V> = Arc::new(move |key, value| ENTRY + weigh(key, value));
        let weigher = Arc::clone(&weigh);
        let builder = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(move |key, entry: &Entry<V>| {
                u32::try_from(weigher(key, &entry.value)).unwrap_or(u32::MAX)
            })
            .eviction_policy(policy);
        let entries = match lifetime {
            Some(lifetime) => builder.time_to_live(lifetime).build(),
            None => builder.build(),
        };
        Self {
            entries,
            max_bytes,
            weigh,
            shards: std::array::from_fn(|_| Mutex::default()),
            drops: RwLock::new(Drops { count: 0, last: Vec::new() }),
            reading: SingleFlight::default(),
        }
    }

    /// The entry, if it is in memory.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        // Held throughout, because the conditions are cleared once no entry matches them any more.
        let drops = self.drops();
        let entry = self.entries.get(key)?;
        let is_new = entry.drops_before == drops.count || drops.last.is_empty();
        (is_new || !drops.concern(&key.to_owned(), &entry)).then_some(entry.value)
    }

    /// The entries with these keys, by key. Those that are not in memory are read by `read`, which
    /// returns the ones that exist. If several callers want the same entry at once, it is read
    /// once.
    pub async fn get_or_read<E, Read>(
        &self,
        keys: impl IntoIterator<Item = K>,
        read: impl Fn(Vec<K>) -> Read,
    ) -> Result<HashMap<K, V>, E>
    where
        Read: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for key in keys {
            match self.get(&key) {
                Some(value) => {
                    found.insert(key, value);
                }
                None => missing.push(key),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let (mine, others) = self.reading.claim(missing);
        if !mine.keys().is_empty() {
            found.extend(self.read(mine.keys().to_vec(), &read).await?);
        }
        drop(mine);
        let mut left = Vec::new();
        for other in others {
            let key = other.landed().await;
            match self.get(&key) {
                Some(value) => {
                    found.insert(key, value);
                }
                // It did not exist, went stale at once, or could not be read.
                None => left.push(key),
            }
        }
        if !left.is_empty() {
            found.extend(self.read(left, &read).await?);
        }
        Ok(found)
    }

    async fn read<E, Read>(
        &self,
        keys: Vec<K>,
        read: &impl Fn(Vec<K>) -> Read,
    ) -> Result<Vec<(K, V)>, E>
    where
        Read: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let ticket = self.ticket();
        let entries = read(keys).await?;
        for (key, value) in &entries {
            self.keep(&ticket, key.clone(), value.clone());
        }
        Ok(entries)
    }

    /// Must be called before entries are read from the database.
    pub fn ticket(&self) -> Ticket {
        let mut ticket = Ticket([0; SHARDS]);
        for (count, shard) in ticket.0.iter_mut().zip(&self.shards) {
            *count = *lock(shard);
        }
        ticket
    }

    /// Inserts an entry that was read after `ticket` was issued, unless it may have gone stale
    /// since. Returns whether it was inserted.
    pub fn keep(&self, ticket: &Ticket, key: K, value: V) -> bool {
        let index = shard(&key);
        let dropped = self.lock(index);
        let is_current = ticket.0.get(index) == Some(&*dropped);
        if is_current {
            self.insert(key, value);
        }
        is_current
    }

    /// Inserts an entry that is new or never changes, so that nobody can have read another value.
    pub fn insert_new(&self, key: K, value: V) {
        let _locked = self.lock(shard(&key));
        self.insert(key, value);
    }

    /// Inserts an entry that the log has given. Must be called in the order of the log.
    pub fn put(&self, key: K, value: V) {
        let mut dropped = self.lock(shard(&key));
        *dropped += 1;
        self.insert(key, value);
    }

    /// Changes an entry as the log says, if it is in memory. Must be called in the order of the
    /// log.
    pub fn update<Q>(&self, key: &Q, change: impl FnOnce(V) -> V)
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let mut dropped = self.lock(shard(key));
        *dropped += 1;
        if let Some(value) = self.get(key) {
            self.insert(key.to_owned(), change(value));
        }
    }

    /// Drops an entry.
    pub fn remove<Q: ?Sized + Hash + Eq>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut dropped = self.lock(shard(key));
        *dropped += 1;
        self.entries.invalidate(key);
    }

    /// Drops the entries for which `is_stale` returns true.
    pub fn remove_if(&self, is_stale: impl Fn(&K, &V) -> bool + Send + Sync + 'static) {
        let _locked = self.lock_all();
        let is_full = {
            let mut drops = self.drops_mut();
            drops.count += 1;
            let number = drops.count;
            drops.last.push((number, Box::new(is_stale)));
            drops.last.len() >= DROPS
        };
        if is_full {
            // Nothing can be inserted meanwhile.
            let drops = self.drops();
            let stale = self.entries.iter().filter(|(key, entry)| drops.concern(key, entry));
            stale.for_each(|(key, _)| self.entries.invalidate(&*key));
            drop(drops);
            self.drops_mut().last.clear();
        }
    }

    /// Drops all entries.
    pub fn clear(&self) {
        let _locked = self.lock_all();
        self.entries.invalidate_all();
    }

    /// The number of entries, for metrics.
    pub fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of all entries in bytes, roughly, once pending evictions are done.
    pub fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    fn insert(&self, key: K, value: V) {
        let weight = u64::try_from((self.weigh)(&key, &value)).unwrap_or(u64::MAX);
        let drops_before = self.drops().count;
        self.entries.insert(key, Entry { value, drops_before });
        if weight > self.max_bytes / LARGE {
            self.entries.run_pending_tasks();
        }
    }

    fn drops(&self) -> RwLockReadGuard<'_, Drops<K, V>> {
        self.drops.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops_mut(&self) -> RwLockWriteGuard<'_, Drops<K, V>> {
        self.drops.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, u64> {
        let [first, ..] = &self.shards;
        lock(self.shards.get(index).unwrap_or(first))
    }

    /// Locks all shards, always in the same order, and counts a drop in each.
    fn lock_all(&self) -> Vec<MutexGuard<'_, u64>> {
        let mut locked: Vec<_> = self.shards.iter().map(lock).collect();
        for dropped in &mut locked {
            **dropped += 1;
        }
        locked
    }
}

impl<K, V> fmt::Debug for LogCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogCache").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

fn lock(shard: &Mutex<u64>) -> MutexGuard<'_, u64> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shard<Q: ?Sized + Hash>(key: &Q) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % SHARDS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
        thread,
    };

    use super::*;

    fn cache() -> LogCache<String, u64> {
        LogCache::new(1 << 20, |key: &String, _| key.len())
    }

    #[test]
    fn a_value_read_before_a_change_is_not_kept() {
        let changes: [fn(&LogCache<String, u64>); 5] = [
            |cache| cache.remove("a"),
            |cache| cache.remove_if(|key, _| key == "a"),
            LogCache::clear,
            |cache| cache.update("a", |value| value + 1),
            |cache| cache.put("a".to_owned(), 2),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let cache = cache();
            let ticket = cache.ticket();
            change(&cache);
            assert!(!cache.keep(&ticket, "a".to_owned(), 1), "{index}");
            assert_ne!(cache.get("a"), Some(1), "{index}");
            assert!(cache.keep(&cache.ticket(), "a".to_owned(), 3), "{index}");
            assert_eq!(cache.get("a"), Some(3), "{index}");
        }
    }

    /// The database has a number that grows. Readers cache what they read, the log drops it, and an
    /// observer must never find less than what was applied before it looked.
    #[test]
    fn a_stale_entry_is_never_found() {
        let (cache, database, applied) = (cache(), AtomicU64::new(0), AtomicU64::new(0));
        let rounds = 50_000;
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while database.load(SeqCst) < rounds {
                        let ticket = cache.ticket();
                        let read = database.load(SeqCst);
                        cache.keep(&ticket, "a".to_owned(), read);
                    }
                });
            }
            scope.spawn(|| {
                while database.load(SeqCst) < rounds {
                    let known = applied.load(SeqCst);
                    if let Some(found) = cache.get("a") {
                        assert!(found >= known, "{found} was found after {known} was applied");
                    }
                }
            });
            for round in 1..=rounds {
                database.store(round, SeqCst);
                cache.remove("a");
                applied.store(round, SeqCst);
            }
        });
    }

    #[tokio::test]
    async fn concurrent_readers_of_an_entry_read_it_once() {
        let (cache, reads) = (cache(), AtomicUsize::new(0));
        let read = |keys: Vec<String>| {
            reads.fetch_add(1, SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok::<_, ()>(keys.into_iter().map(|key| (key, 7)).collect())
            }
        };
        let wants = (0..100).map(|index| {
            let keys = ["a".to_owned(), format!("{}", index % 2)];
            cache.get_or_read(keys, &read)
        });
        for found in futures_util::future::join_all(wants).await {
            assert_eq!(found.unwrap().len(), 2);
        }
        assert_eq!(reads.load(SeqCst), 2, "`a` and `0`, then `1`");
    }

    #[test]
    fn what_is_used_often_is_not_evicted_by_one_who_reads_much() {
        let cache = LogCache::of_frequent(100 * 1_200, |_: &u64, _: &u64| 1_000);
        let read = |key: u64| {
            let found = cache.get(&key).is_some();
            if !found {
                cache.keep(&cache.ticket(), key, key);
            }
            cache.entries.run_pending_tasks();
            found
        };
        let mut found = 0;
        for round in 0..50 {
            found += (0..50).filter(|key| read(*key)).count();
            (0..200).for_each(|number| {
                read(1_000 + round * 200 + number);
            });
        }
        assert!(found > 2_000, "{found} of 2,500");
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let cache: LogCache<u32, Vec<u8>> =
            LogCache::new(100_000, |_, value: &Vec<u8>| value.len());
        for key in 0..1_000 {
            cache.put(key, vec![0; 1_000]);
        }
        assert!(cache.bytes() <= 100_000);
        assert!(cache.len() > 50);
    }
}
