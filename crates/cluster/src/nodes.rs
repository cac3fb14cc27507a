//! Which nodes run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stoa_storage::{Backend, Error, Result, Store, repo::nodes};

/// How often a node says that it is alive.
const INTERVAL: Duration = Duration::from_secs(5);

/// A node that has been silent for longer than this is not counted: it has missed three times.
const LIVE_WITHIN_MS: i64 = 17_500;

/// After how long a silent node is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// How long saying so may take.
const LIMIT: Duration = Duration::from_secs(5);

/// This node among the others of its deployment. Where there can be one node only, it is that one.
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

    /// The number of this run of the node, which no other run of any node has.
    pub fn incarnation(&self) -> i64 {
        self.0.incarnation
    }

    /// How many nodes were alive when this one last looked, itself included.
    pub fn live(&self) -> u32 {
        self.0.live.load(Ordering::Relaxed)
    }

    /// Says that this node is alive, and looks how many are.
    pub async fn beat(&self) -> Result<u32> {
        if self.0.store.backend() == Backend::Postgres {
            let looked = tokio::time::timeout(LIMIT, self.0.beat()).await;
            let live = looked.map_err(|_| Error::Timeout("saying that this node is alive"))??;
            self.0.live.store(live, Ordering::Relaxed);
        }
        metrics::gauge!("stoa_nodes").set(f64::from(self.live()));
        Ok(self.live())
    }

    /// Says that this node is alive, again and again, and tells `told` how many are. Never ends.
    /// While the database cannot be reached, what was last seen holds.
    pub async fn follow(&self, told: impl Fn(u32)) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.beat().await {
                Ok(live) => told(live),
                Err(error) => tracing::warn!(%error, "this node could not say that it is alive"),
            }
        }
    }

    /// Forgets the nodes that have vanished long ago.
    pub async fn prune(&self) -> Result<()> {
        let mut conn = self.0.store.write().await?;
        nodes::prune(&mut conn, FORGOTTEN_AFTER_MS).await?;
        conn.commit().await
    }

    /// Leaves the other nodes, which count this one no longer.
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
