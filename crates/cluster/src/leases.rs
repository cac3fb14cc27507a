//! Leases: they let one node at a time do something.
//!
//! A lease is a row that expires in the database's time; no node's wall clock matters. While it is
//! held, it is renewed in the background. Its holder measures elapsed time with its own monotonic
//! clock and stops well before the row expires, so that it never runs alongside a successor. That
//! does not help if the holder freezes just before it writes. So each lease also has a fencing
//! number, which is larger for each successor, and each transaction that writes under a lease
//! checks it with [`Fence::check`] (see [`Lease::fence`]).
//!
//! Work with many items is divided into shares, which are leased one at a time
//! ([`Leases::acquire_share`]). Single items are never leased.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use stoa_base::Clock;
use stoa_storage::{
    Error, Result, Store,
    repo::leases::{self, Fence},
};
use tokio::{runtime::Handle, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long taking, renewing or releasing a lease may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long the rows of leases without a holder are kept.
const FORGOTTEN_AFTER_MS: i64 = 24 * 3_600_000;

/// The leases of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    clock: Clock,
    /// The run of this node.
    holder: i64,
}

impl Leases {
    /// The leases of the node's run `incarnation`.
    pub fn new(store: Store, clock: Clock, incarnation: i64) -> Self {
        Self(Arc::new(Shared { store, clock, holder: incarnation }))
    }

    /// Takes a lease if it is free. It lasts for `ttl` and is renewed automatically.
    pub async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.acquire_share(name, 0, ttl).await
    }

    /// Like [`Leases::acquire`], for one share of divided work.
    pub async fn acquire_share(
        &self,
        name: &str,
        share: i64,
        ttl: Duration,
    ) -> Result<Option<Lease>> {
        let asked = self.0.clock.monotonic();
        let taking = async {
            let mut conn = self.0.store.write().await?;
            let ttl_ms = to_ms(ttl);
            let fence = leases::acquire(&mut conn, name, share, self.0.holder, ttl_ms).await?;
            conn.commit().await?;
            Ok(fence)
        };
        let Some(fence) = limited(taking).await? else { return Ok(None) };
        let held = Held {
            shared: Arc::clone(&self.0),
            fence,
            ttl,
            deadline: Mutex::new(asked + usable(ttl)),
            ended: CancellationToken::new(),
        };
        let held = Arc::new(held);
        let renewing = AbortOnDropHandle::new(tokio::spawn(renew(Arc::clone(&held), asked)));
        Ok(Some(Lease { held, renewing: Some(renewing) }))
    }

    /// Releases all leases of this node. Called when it stops.
    pub async fn release_all(&self) -> Result<()> {
        limited(async {
            let mut conn = self.0.store.write().await?;
            leases::release_all(&mut conn, self.0.holder).await?;
            conn.commit().await
        })
        .await
    }

    /// Deletes the rows of leases that nobody has held for a day.
    pub async fn prune(&self) -> Result<()> {
        let mut conn = self.0.store.write().await?;
        leases::prune(&mut conn, FORGOTTEN_AFTER_MS).await?;
        conn.commit().await
    }
}

/// A lease that this node holds, or has held. Dropping it releases it.
#[derive(Debug)]
pub struct Lease {
    held: Arc<Held>,
    renewing: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    fence: Fence,
    ttl: Duration,
    /// When the holder must stop, unless the lease is renewed before.
    deadline: Mutex<Instant>,
    ended: CancellationToken,
}

impl Lease {
    /// The fence that each transaction writing under this lease must check.
    pub fn fence(&self) -> &Fence {
        &self.held.fence
    }

    /// Whether this node still holds the lease, as far as it knows. Writes must check the
    /// [`Lease::fence`] all the same.
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// Returns when this node no longer holds the lease.
    pub async fn ended(&self) {
        while self.is_held() {
            tokio::select! {
                biased;
                () = self.held.ended.cancelled() => return,
                () = tokio::time::sleep_until(self.held.deadline()) => {}
            }
        }
    }

    /// Runs `work` for as long as the lease is held. If the lease ends first, `work` is dropped.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.ended() => Err(Error::LeaseLost),
            done = work => done,
        }
    }

    /// Releases the lease. Dropping it does so too, but a little later.
    pub async fn release(mut self) -> Result<()> {
        self.renewing = None;
        self.held.ended.cancel();
        self.held.release().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.renewing.take().is_none() {
            return;
        }
        self.held.ended.cancel();
        // Without a runtime, the lease expires by itself.
        if let Ok(runtime) = Handle::try_current() {
            let held = Arc::clone(&self.held);
            runtime.spawn(async move {
                if let Err(error) = held.release().await {
                    tracing::debug!(%error, name = held.fence.name, "a lease was not released");
                }
            });
        }
    }
}

impl Held {
    fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_held(&self) -> bool {
        !self.ended.is_cancelled() && self.shared.clock.monotonic() < self.deadline()
    }

    async fn release(&self) -> Result<()> {
        limited(async {
            let mut conn = self.shared.store.write().await?;
            leases::release(&mut conn, &self.fence).await?;
            conn.commit().await
        })
        .await
    }

    async fn renew(&self) -> Result<bool> {
        limited(async {
            let mut conn = self.shared.store.write().await?;
            let renewed = leases::renew(&mut conn, &self.fence, to_ms(self.ttl)).await?;
            conn.commit().await?;
            Ok(renewed)
        })
        .await
    }
}

/// Renews a lease until it is lost.
async fn renew(held: Arc<Held>, acquired: Instant) {
    let clock = held.shared.clock.clone();
    let pause = held.ttl / 4;
    let mut next = acquired + pause;
    loop {
        let deadline = held.deadline();
        tokio::time::sleep_until(next.min(deadline)).await;
        let asked = clock.monotonic();
        if asked >= deadline {
            break;
        }
        let renewed = tokio::time::timeout_at(deadline, held.renew()).await;
        match renewed {
            // A renewal that came too late does not count, since others may have seen the lease
            // expire.
            Ok(Ok(true)) if clock.monotonic() < deadline => {
                let mut until = held.deadline.lock().unwrap_or_else(PoisonError::into_inner);
                *until = asked + usable(held.ttl);
                next = asked + pause;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, name = held.fence.name, "a lease was not renewed");
                next = clock.monotonic() + pause / 4;
            }
            Ok(Ok(_)) | Err(_) => break,
        }
    }
    held.ended.cancel();
    metrics::counter!("stoa_leases_lost_total").increment(1);
    let Fence { name, partition, number } = &held.fence;
    tracing::warn!(name, partition, fence = number, "a lease was lost");
}

/// How much of a lease's time is used. The rest allows for clocks that run at different speeds, and
/// for writes that the holder has already sent.
fn usable(ttl: Duration) -> Duration {
    ttl / 4 * 3
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = tokio::time::timeout(LIMIT, work).await;
    done.map_err(|_| Error::Timeout("a lease"))?
}
