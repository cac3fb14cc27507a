//! Token buckets by key, which can go into debt.
//!
//! A bucket holds up to `burst` tokens and is filled at a steady rate. The known cost of a request
//! must be in the bucket, or the bucket must be full if the cost is more than it holds. Costs that
//! turn out later are charged even if the bucket has too little, unless it is already in debt. So
//! an operation of any size is possible, but cannot be repeated until its debt is paid off.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stoa_base::Clock;
use stoa_config::Rate;
use tokio::time::Instant;

/// The number of locks over which the buckets are spread.
const SHARDS: usize = 16;

/// The maximum number of buckets in a shard. It bounds the memory of a
/// class of limits, no matter how many addresses an attacker has.
const MAX_KEYS: usize = 16_384;

const NANOS_PER_MINUTE: u64 = 60_000_000_000;

/// The buckets of one class.
pub(super) struct Buckets<K> {
    /// For each bucket that is not full, when it will be, in nanoseconds after the start.
    shards: [Mutex<HashMap<K, u64>>; SHARDS],
    hasher: RandomState,
    /// The time in which one token is added.
    period: u64,
    burst: NonZeroU32,
    clock: Clock,
    started: Instant,
}

impl<K: Hash + Eq> Buckets<K> {
    pub(super) fn new(rate: Rate, clock: &Clock) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            period: NANOS_PER_MINUTE / u64::from(rate.per_minute.get()),
            burst: rate.burst,
            clock: clock.clone(),
            started: clock.monotonic(),
        }
    }

    /// Charges the cost of a request, or returns how long to wait until the bucket has enough.
    pub(super) fn spend<Q>(&self, key: &Q, cost: u64) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.take(key, cost.min(u64::from(self.burst.get())), cost)
    }

    /// Charges the further cost of a request that was let through, or returns how long to wait
    /// until earlier debts are paid.
    pub(super) fn charge<Q>(&self, key: &Q, cost: u64) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.take(key, 0, cost)
    }

    fn take<Q>(&self, key: &Q, needed: u64, cost: u64) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        let mut shard = self.shard(key);
        let full_at = shard.get(key).map_or(now, |full_at| (*full_at).max(now));
        let spare = u64::from(self.burst.get()).saturating_sub(needed);
        let allowed = now.saturating_add(spare.saturating_mul(self.period));
        if full_at > allowed {
            return Err(Duration::from_nanos(full_at - allowed));
        }
        let full_at = full_at.saturating_add(cost.saturating_mul(self.period));
        if let Some(known) = shard.get_mut(key) {
            *known = full_at;
        } else {
            make_room(&mut shard, now);
            shard.insert(key.to_owned(), full_at);
        }
        Ok(())
    }

    /// Forgets the buckets that are full.
    pub(super) fn forget_the_quiet(&self) {
        let now = self.now();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, full_at| *full_at > now);
            shard.shrink_to_fit();
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, HashMap<K, u64>> {
        let [first, ..] = &self.shards;
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let shard = self.shards.get(index).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        let since = self.clock.monotonic().duration_since(self.started);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<HashMap<K, u64>>| shard.lock().map_or(0, |shard| shard.len());
        self.shards.iter().map(len).sum()
    }
}

/// Keeps a shard within its size. If it is full of buckets in use, someone has very many addresses,
/// and forgetting all buckets costs less than searching for one to forget each time.
fn make_room<K: Hash + Eq>(shard: &mut HashMap<K, u64>, now: u64) {
    if shard.len() < MAX_KEYS {
        return;
    }
    shard.retain(|_, full_at| *full_at > now);
    if shard.len() > MAX_KEYS / 2 {
        shard.clear();
    }
}

impl<K> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("burst", &self.burst).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(per_minute: u32, burst: u32) -> Buckets<String> {
        let number = |n| NonZeroU32::new(n).expect("not zero");
        let rate = Rate { per_minute: number(per_minute), burst: number(burst) };
        Buckets::new(rate, &Clock::system())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let buckets = buckets(60, 3);
        for _ in 0..3 {
            assert_eq!(buckets.spend("a", 1), Ok(()));
        }
        assert_eq!(buckets.spend("a", 1), Err(SECOND));
        assert_eq!(buckets.spend("b", 1), Ok(()), "somebody else");
        tokio::time::advance(SECOND).await;
        assert_eq!(buckets.spend("a", 1), Ok(()));
        assert_eq!(buckets.spend("a", 1), Err(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cost_above_the_bucket_size_needs_a_full_bucket() {
        let buckets = buckets(60, 4);
        assert_eq!(buckets.spend("a", 10), Ok(()));
        assert_eq!(buckets.spend("a", 10), Err(10 * SECOND));
        assert_eq!(buckets.spend("a", 1), Err(7 * SECOND), "the debt comes first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_is_paid_before_the_next_one_is_made() {
        let buckets = buckets(60, 4);
        assert_eq!(buckets.spend("a", 1), Ok(()));
        assert_eq!(buckets.charge("a", 100), Ok(()));
        assert_eq!(buckets.charge("a", 100), Err(97 * SECOND));
        assert_eq!(buckets.spend("a", 1), Err(98 * SECOND));
        tokio::time::advance(97 * SECOND).await;
        assert_eq!(buckets.charge("a", 100), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn full_buckets_are_forgotten() {
        let buckets = buckets(60, 1);
        assert_eq!(buckets.spend("a", 1), Ok(()));
        tokio::time::advance(2 * SECOND).await;
        buckets.forget_the_quiet();
        assert_eq!(buckets.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_buckets_is_limited() {
        let buckets = buckets(1, 1);
        for n in 0..SHARDS * MAX_KEYS * 2 {
            assert_eq!(buckets.spend(&n.to_string(), 1), Ok(()));
        }
        assert!(buckets.len() <= SHARDS * MAX_KEYS, "{}", buckets.len());
    }
}
