//! Keeps count of the running nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stoa_storage::{Backend, Error, Result, Store, repo::nodes};

/// How often a node reports that it is alive.
const INTERVAL: Duration = Duration::from_secs(5);

/// A node that has been silent for longer than this is not counted: it has missed three reports.
const LIVE_WITHIN_MS: i64 = 17_500;

/// How long until a silent node is deleted.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// How long a report may take.
const LIMIT: Duration = Duration::from_secs(5);

/// This node and the count of live nodes in its deployment, which is one if there can be no other.
#[derive(Clone, Debug)]
pub struct Nodes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    incarnation: i64,
    version: &'static str,
    live: AtomicU32,
}

impl Nodes {
    /// Joins the other nodes as the run `incarnation` of a program of this version.
    pub async fn join(store: Store, incarnation: i64, version: &'static str) -> Result<Self> {
        let live = AtomicU32::new(1);
        let nodes = Self(Arc::new(Shared { store, incarnation, version, live }));
        nodes.beat().await?;
        Ok(nodes)
    }

    /// The number of this run of the node, unique among all runs of all nodes.
    pub fn incarnation(&self) -> i64 {
        self.0.incarnation
    }

    /// How many nodes were alive when this one last looked, including itself.
    pub fn live(&self) -> u32 {
        self.0.live.load(Ordering::Relaxed)
    }

    /// Reports that this node is alive, and counts the live nodes.
    pub async fn beat(&self) -> Result<u32> {
        if self.0.store.backend() == Backend::Postgres {
            let looked = tokio::time::timeout(LIMIT, self.0.beat()).await;
            let live = looked.map_err(|_| Error::Timeout("reporting this node as alive"))??;
            self.0.live.store(live, Ordering::Relaxed);
        }
        metrics::gauge!("stoa_nodes").set(f64::from(self.live()));
        Ok(self.live())
    }

    /// Reports regularly that this node is alive, and passes the number of live nodes to `told`.
    /// Never returns. While the database cannot be reached, the last count stays.
    pub async fn follow(&self, told: impl Fn(u32)) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.beat().await {
                Ok(live) => told(live),
                Err(error) => tracing::warn!(%error, "this node could not report that it is alive"),
            }
        }
    }

    /// Deletes nodes that vanished long ago.
    pub async fn prune(&self) -> Result<()> {
        let mut conn = self.0.store.write().await?;
        nodes::prune(&mut conn, FORGOTTEN_AFTER_MS).await?;
        conn.commit().await
    }

    /// Leaves the other nodes, which then no longer count this one.
    pub async fn leave(&self) -> Result<()> {
        let mut conn = self.0.store.write().await?;
        nodes::remove(&mut conn, self.0.incarnation).await?;
        conn.commit().await
    }
}

impl Shared {
    async fn beat(&self) -> Result<u32> {
        let mut conn = self.store.write().await?;
        nodes::beat(&mut conn, self.incarnation, self.version).await?;
        conn.commit().await?;
        let live = nodes::count_live(&mut self.store.read().await?, LIVE_WITHIN_MS).await?;
        Ok(u32::try_from(live).unwrap_or(u32::MAX).max(1))
    }
}
