//! Rate limits.
//!
//! Failed logins and new accounts are counted by `accounts`, in the database. The counters here are
//! in the memory of each node. If there are several nodes, each sees about its share of all
//! requests, so each request counts as many times as there are nodes.

mod buckets;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ruma::{OwnedUserId, UserId};
use stoa_base::{Clock, Network};

use self::buckets::Buckets;
use crate::{Class, Error, Operation, Result};

/// The rate limits of this node.
#[derive(Clone, Debug)]
pub struct Limits(Option<Arc<Limiters>>);

/// The caller of a request, as far as limits are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The user whose token came with the request, if this node has the session in memory.
    pub user: Option<&'a UserId>,
    /// The address of the client; `None` if the request did not come over a network.
    pub address: Option<IpAddr>,
}

#[derive(Debug)]
struct Limiters {
    messages: Buckets<OwnedUserId>,
    room_creation: Buckets<OwnedUserId>,
    profiles: Buckets<OwnedUserId>,
    writes: Buckets<OwnedUserId>,
    ephemeral: Buckets<OwnedUserId>,
    reads: Buckets<OwnedUserId>,
    heavy_reads: Buckets<OwnedUserId>,
    syncs: Buckets<OwnedUserId>,
    anonymous: Buckets<Network>,
    attempts: Buckets<Network>,
    nodes: AtomicU32,
}

/// The buckets of a class.
enum Of<'a> {
    Users(&'a Buckets<OwnedUserId>),
    Addresses(&'a Buckets<Network>),
    Nobody,
}

impl Limiters {
    const fn of(&self, class: Class) -> Of<'_> {
        match class {
            Class::Messages => Of::Users(&self.messages),
            Class::RoomCreation => Of::Users(&self.room_creation),
            Class::Profiles => Of::Users(&self.profiles),
            Class::Writes => Of::Users(&self.writes),
            Class::Ephemeral => Of::Users(&self.ephemeral),
            Class::Reads => Of::Users(&self.reads),
            Class::HeavyReads => Of::Users(&self.heavy_reads),
            Class::Syncs => Of::Users(&self.syncs),
            Class::Anonymous => Of::Addresses(&self.anonymous),
            Class::Attempts => Of::Addresses(&self.attempts),
            Class::Unlimited => Of::Nobody,
        }
    }
}

impl Limits {
    /// Limits from the configuration.
    pub fn new(config: &stoa_config::Limits, clock: &Clock) -> Self {
        Self(config.enabled.then(|| {
            Arc::new(Limiters {
                messages: Buckets::new(config.messages, clock),
                room_creation: Buckets::new(config.room_creation, clock),
                profiles: Buckets::new(config.profiles, clock),
                writes: Buckets::new(config.writes, clock),
                ephemeral: Buckets::new(config.ephemeral, clock),
                reads: Buckets::new(config.reads, clock),
                heavy_reads: Buckets::new(config.heavy_reads, clock),
                syncs: Buckets::new(config.syncs, clock),
                anonymous: Buckets::new(config.anonymous, clock),
                attempts: Buckets::new(config.logins, clock),
                nodes: AtomicU32::new(1),
            })
        }))
    }

    /// Sets how many nodes share the requests.
    pub fn set_nodes(&self, nodes: u32) {
        if let Some(limiters) = &self.0 {
            limiters.nodes.store(nodes.max(1), Ordering::Relaxed);
        }
    }

    /// Charges the fixed cost of `operation` to the caller's budget. If the operation is limited by
    /// user and the user is unknown, it is counted as anonymous, by address. A caller with neither
    /// a user nor an address is not limited.
    pub fn spend(&self, operation: &Operation, caller: Caller<'_>) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        let cost = limiters.cost(operation.cost);
        let (class, taken) = match (limiters.of(operation.class), caller) {
            (Of::Users(buckets), Caller { user: Some(user), .. }) => {
                (operation.class, buckets.spend(user, cost))
            }
            (Of::Addresses(buckets), Caller { address: Some(address), .. }) => {
                (operation.class, buckets.spend(&Network::of(address), cost))
            }
            (Of::Users(_), Caller { user: None, address: Some(address) }) => {
                (Class::Anonymous, limiters.anonymous.spend(&Network::of(address), cost))
            }
            (Of::Nobody, _) | (_, Caller { address: None, .. }) => return Ok(()),
        };
        taken.map_err(|wait| refused(class, wait))
    }

    /// Charges to a user's budget what a request costs beyond the fixed cost of its operation. The
    /// budget can go into debt, but is refused if it is already in debt.
    pub fn charge(&self, class: Class, user: &UserId, cost: usize) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        let Of::Users(buckets) = limiters.of(class) else { return Ok(()) };
        let cost = limiters.cost(u32::try_from(cost).unwrap_or(u32::MAX));
        if cost == 0 {
            return Ok(());
        }
        buckets.charge(user, cost).map_err(|wait| refused(class, wait))
    }

    /// Forgets callers with full buckets, so that the counters do not grow without limit.
    pub fn forget_the_quiet(&self) {
        let Some(limiters) = &self.0 else { return };
        for class in Class::ALL {
            match limiters.of(class) {
                Of::Users(buckets) => buckets.forget_the_quiet(),
                Of::Addresses(buckets) => buckets.forget_the_quiet(),
                Of::Nobody => {}
            }
        }
    }
}

impl Limiters {
    fn cost(&self, cost: u32) -> u64 {
        u64::from(cost).saturating_mul(self.nodes.load(Ordering::Relaxed).into())
    }
}

fn refused(class: Class, wait: Duration) -> Error {
    metrics::counter!("stoa_limited_total", "class" => class.label()).increment(1);
    Error::limit_exceeded(wait)
}

/// The budget that a request uses, for handlers whose cost depends on the request.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    class: Class,
}

impl Budget {
    /// The budget of a class.
    pub fn new(limits: &Limits, class: Class) -> Self {
        Self { limits: limits.clone(), class }
    }

    /// Charges to the user's budget what the request costs beyond the fixed cost of its operation,
    /// for example the number of further events that are written.
    pub fn charge(&self, user: &UserId, cost: usize) -> Result<()> {
        self.limits.charge(self.class, user, cost)
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::Audited;

    const SEND: Operation = Operation::put("/send", Class::Messages, 1, Audited::No);
    const READ: Operation = Operation::get("/read", Class::Reads, 1);
    const LOG_IN: Operation = Operation::post("/login", Class::Attempts, 1, Audited::Yes);

    fn config() -> stoa_config::Limits {
        let mut config = stoa_config::Limits::default();
        for rate in [&mut config.messages, &mut config.anonymous, &mut config.logins] {
            rate.burst = 4.try_into().expect("not zero");
            rate.per_minute = 60.try_into().expect("not zero");
        }
        config
    }

    fn limits() -> Limits {
        Limits::new(&config(), &Clock::system())
    }

    fn alice() -> Caller<'static> {
        Caller { user: Some(user_id!("@alice:test")), address: None }
    }

    fn from(address: &str) -> Caller<'static> {
        Caller { user: None, address: Some(address.parse().expect("an address")) }
    }

    /// How often the operation is allowed in a row.
    fn count(limits: &Limits, operation: &Operation, caller: Caller<'_>) -> usize {
        (0..100).take_while(|_| limits.spend(operation, caller).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_share_the_rate() {
        let limits = limits();
        limits.set_nodes(2);
        assert_eq!(count(&limits, &SEND, alice()), 2);
        let bob = Caller { user: Some(user_id!("@bob:test")), address: None };
        limits.set_nodes(100);
        assert_eq!(count(&limits, &SEND, bob), 1, "more nodes than a burst has requests");
    }

    #[tokio::test(start_paused = true)]
    async fn budgets_are_separate() {
        let limits = limits();
        assert_eq!(count(&limits, &SEND, alice()), 4);
        assert_eq!(count(&limits, &READ, alice()), 100);
        limits.charge(Class::Profiles, user_id!("@alice:test"), 1_000_000).expect("a first time");
        limits.charge(Class::Profiles, user_id!("@alice:test"), 1).expect_err("a debt");
        assert_eq!(count(&limits, &READ, alice()), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn anonymous_callers_are_counted_by_network() {
        let limits = limits();
        assert_eq!(count(&limits, &READ, from("2001:db8::1")), 4);
        assert_eq!(count(&limits, &READ, from("2001:db8::2")), 0, "of the same /64");
        assert_eq!(count(&limits, &READ, from("2001:db8:0:1::1")), 4);
        assert_eq!(count(&limits, &LOG_IN, from("192.0.2.1")), 4);
        assert_eq!(count(&limits, &LOG_IN, from("::ffff:192.0.2.1")), 0, "the same address");
        assert_eq!(count(&limits, &READ, from("192.0.2.1")), 4, "another budget");
    }

    #[tokio::test]
    async fn nothing_is_refused_without_limits() {
        let config = stoa_config::Limits { enabled: false, ..config() };
        let limits = Limits::new(&config, &Clock::system());
        assert_eq!(count(&limits, &LOG_IN, from("127.0.0.1")), 100);
    }
}
