//! How often somebody may do something.
//!
//! Failed log-ins and new accounts are counted by the accounts, in the database. The counters here
//! stand in the memory of each node. Where several nodes run, what one of them sees is
//! about its share of all requests, so each request counts as many times as there are nodes.

use std::{
    fmt,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock::Clock as _, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::DashMapStateStore,
};
use ruma::{OwnedUserId, UserId};
use stoa_base::Clock;
use stoa_config::Rate;
use tokio::time::Instant;

use super::{Error, Result};

/// The limits of this node.
#[derive(Clone, Debug)]
pub struct Limits(Option<Arc<Limiters>>);

#[derive(Debug)]
struct Limiters {
    messages: Limiter<OwnedUserId>,
    attempts: Limiter<IpAddr>,
    nodes: AtomicU32,
}

impl Limits {
    /// Limits as they are configured.
    pub fn new(config: &stoa_config::Limits, clock: &Clock) -> Self {
        Self(config.enabled.then(|| {
            Arc::new(Limiters {
                messages: Limiter::new(config.messages, clock),
                attempts: Limiter::new(config.logins, clock),
                nodes: AtomicU32::new(1),
            })
        }))
    }

    /// Says how many nodes share the requests.
    pub fn set_nodes(&self, nodes: u32) {
        if let Some(limiters) = &self.0 {
            limiters.nodes.store(nodes.max(1), Ordering::Relaxed);
        }
    }

    /// Counts an event that a user sends.
    pub fn message(&self, user: &UserId) -> Result<()> {
        self.check(|limiters, nodes| limiters.messages.check(&user.to_owned(), nodes))
    }

    /// Counts an attempt to log in, to make an account, or to find out who has one. Who comes over
    /// no network is not limited.
    pub fn attempt(&self, address: Option<IpAddr>) -> Result<()> {
        self.check(|limiters, nodes| {
            address.map_or(Ok(()), |ip| limiters.attempts.check(&ip, nodes))
        })
    }

    /// Forgets those who did nothing lately, so that the counters do not grow for ever.
    pub fn forget_the_quiet(&self) {
        if let Some(limiters) = &self.0 {
            limiters.messages.forget_the_quiet();
            limiters.attempts.forget_the_quiet();
        }
    }

    fn check(
        &self,
        check: impl FnOnce(&Limiters, NonZeroU32) -> Result<(), Duration>,
    ) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        let nodes = NonZeroU32::new(limiters.nodes.load(Ordering::Relaxed));
        check(limiters, nodes.unwrap_or(NonZeroU32::MIN)).map_err(Error::limit_exceeded)
    }
}

struct Limiter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, Stopwatch, NoOpMiddleware<Nanos>>,
    clock: Stopwatch,
    burst: NonZeroU32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(rate: Rate, clock: &Clock) -> Self {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        let clock = Stopwatch { clock: clock.clone(), started: clock.monotonic() };
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), clock.clone());
        Self { limiter, clock, burst: rate.burst }
    }

    /// Counts one request, `cost` times; or says how long to wait.
    fn check(&self, key: &K, cost: NonZeroU32) -> Result<(), Duration> {
        // With more nodes than a burst has requests, one request at a time is still allowed.
        match self.limiter.check_key_n(key, cost.min(self.burst)) {
            Ok(Err(refused)) => Err(refused.wait_time_from(self.clock.now())),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    fn forget_the_quiet(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("burst", &self.burst).finish_non_exhaustive()
    }
}

/// The time since the start, by the clock that everything else goes by.
#[derive(Clone, Debug)]
struct Stopwatch {
    clock: Clock,
    started: Instant,
}

impl governor::clock::Clock for Stopwatch {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.clock.monotonic().duration_since(self.started).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: u32, burst: u32) -> Limiter<u32> {
        let number = |n| NonZeroU32::new(n).expect("not zero");
        let rate = Rate { per_minute: number(per_minute), burst: number(burst) };
        Limiter::new(rate, &Clock::system())
    }

    fn nodes(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).expect("not zero")
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let limiter = limiter(60, 3);
        for _ in 0..3 {
            assert_eq!(limiter.check(&1, nodes(1)), Ok(()));
        }
        assert_eq!(limiter.check(&1, nodes(1)), Err(Duration::from_secs(1)));
        assert_eq!(limiter.check(&2, nodes(1)), Ok(()), "somebody else");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.check(&1, nodes(1)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_share_the_rate() {
        let limiter = limiter(60, 4);
        assert_eq!(limiter.check(&1, nodes(2)), Ok(()));
        assert_eq!(limiter.check(&1, nodes(2)), Ok(()));
        assert_eq!(limiter.check(&1, nodes(2)), Err(Duration::from_secs(2)));
        assert_eq!(limiter.check(&2, nodes(100)), Ok(()), "more nodes than a burst has requests");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_quiet_is_forgotten() {
        let limiter = limiter(60, 1);
        assert_eq!(limiter.check(&1, nodes(1)), Ok(()));
        tokio::time::advance(Duration::from_secs(120)).await;
        limiter.forget_the_quiet();
        assert!(limiter.limiter.is_empty());
    }

    #[tokio::test]
    async fn without_limits_nothing_is_refused() {
        let config = stoa_config::Limits { enabled: false, ..stoa_config::Limits::default() };
        let limits = Limits::new(&config, &Clock::system());
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        for _ in 0..1_000 {
            assert!(limits.attempt(address).is_ok());
        }
    }
}
