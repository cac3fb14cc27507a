use std::{ops::Deref, sync::Arc, time::Duration};

use axum::extract::FromRef;
use stoa_accounts::{
    AccountData, Accounts, Devices, Filters, InteractiveAuth, Passwords, Profiles, Registrar,
    Sessions, Users,
};
use stoa_base::{Clock, Random};
use stoa_cluster::{Freshness, Jobs, Leases, Nodes, Tailer, Waiters};
use stoa_config::Config;
use stoa_directory::Directory;
use stoa_ephemeral::Typing;
use stoa_federation::Federation;
use stoa_http::{Admission, Context, Limits, panics::Panics};
use stoa_push::ReadState;
use stoa_rooms::Rooms;
use stoa_storage::{
    NidAllocator, Store,
    log::{self, Writer},
};
use stoa_sync::Sources;
use tokio_util::sync::CancellationToken;

use crate::audit::HeadExport;

/// How long the log is kept, in milliseconds: a node that lags by more than this drops its caches.
const LOG_KEPT_MS: i64 = 3_600_000;

/// The lease of the node that prunes, and the time after which another takes over if it vanishes.
const PRUNING: &str = "pruning";
const PRUNING_TTL: Duration = Duration::from_secs(30);

/// The parts of the server that handlers use. Cheap to clone.
///
/// A handler takes only what it uses: `State(profiles): State<Arc<Profiles>>`.
#[derive(Clone, Debug)]
pub struct AppState(Arc<Parts>);

/// The parts themselves.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// Writes to the log.
    pub writer: Writer,
    /// The reader of the log.
    pub tailer: Arc<Tailer>,
    /// The reads of the log's head, shared by waiting requests.
    pub freshness: Freshness,
    /// Readers that wait for news.
    pub waiters: Waiters,
    /// The nodes of the deployment.
    pub nodes: Nodes,
    /// Leases, for what only one node may do at a time.
    pub leases: Leases,
    /// Work that outlives its request.
    pub jobs: Jobs,
    /// Allocates internal numbers.
    pub nids: Arc<NidAllocator>,
    /// Users, devices, tokens, profiles, account data, filters.
    pub accounts: Arc<Accounts>,
    /// Rooms: the event graph, state, membership, and who may see what.
    pub rooms: Arc<Rooms>,
    /// Local aliases, and the local room list.
    pub directory: Arc<Directory>,
    /// Read markers and receipts.
    pub read_state: Arc<ReadState>,
    /// Typing notifications.
    pub typing: Typing,
    /// Sync: what is new for clients.
    pub sources: Arc<Sources>,
    /// What writes the heads of the audit chain to the log.
    pub audit: Arc<HeadExport>,
    /// Rate limits.
    pub limits: Limits,
    /// Memory for large answers.
    pub admission: Admission,
    /// What the HTTP layer needs.
    pub http: Arc<Context>,
    /// What the server-server API needs.
    pub federation: Arc<Federation>,
    /// How many requests panicked.
    pub panics: Panics,
    /// Cancelled when the server stops, so that requests waiting for news are answered at once.
    pub stopping: CancellationToken,
    /// The time.
    pub clock: Clock,
    /// Where random values come from.
    pub random: Random,
}

impl AppState {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Deletes what has expired and writes to the database what is kept in memory for a while.
    /// Called once a minute.
    pub async fn housekeep(&self) {
        self.limits.forget_the_quiet();
        if let Err(error) = self.accounts.sessions.flush_last_seen().await {
            tracing::warn!(%error, "when devices were last seen was not written");
        }
        if let Err(error) = self.accounts.passwords.flush_failed_logins().await {
            tracing::warn!(%error, "logins that failed were not written to the audit log");
        }
        if let Err(error) = self.accounts.prune_expired().await {
            tracing::warn!(%error, "what has expired was not deleted");
        }
        if let Err(error) = self.prune_log().await {
            tracing::warn!(%error, "the log was not pruned");
        }
        if let Err(error) = self.nodes.prune().await {
            tracing::warn!(%error, "nodes that vanished were not forgotten");
        }
        if let Err(error) = self.jobs.housekeep().await {
            tracing::warn!(%error, "jobs that ended were not forgotten");
        }
        if let Err(error) = self.leases.prune().await {
            tracing::warn!(%error, "leases that ended were not forgotten");
        }
    }

    /// Prunes the log, unless another node is doing so.
    async fn prune_log(&self) -> stoa_storage::Result<()> {
        let Some(lease) = self.leases.acquire(PRUNING, PRUNING_TTL).await? else { return Ok(()) };
        let before_ms = self.clock.now_ms() - LOG_KEPT_MS;
        let pruned = lease.run(log::prune(&self.store, lease.fence(), before_ms)).await;
        lease.release().await?;
        pruned.map(drop)
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

macro_rules! parts {
    ($($($part:ident).+: $type:ty),* $(,)?) => {$(
        impl FromRef<AppState> for $type {
            fn from_ref(state: &AppState) -> Self {
                state.$($part).+.clone()
            }
        }
    )*};
}

parts! {
    accounts: Arc<Accounts>,
    accounts.account_data: Arc<AccountData>,
    accounts.devices: Arc<Devices>,
    accounts.filters: Arc<Filters>,
    accounts.interactive_auth: Arc<InteractiveAuth>,
    accounts.passwords: Arc<Passwords>,
    accounts.profiles: Arc<Profiles>,
    accounts.registrar: Arc<Registrar>,
    accounts.sessions: Arc<Sessions>,
    accounts.users: Arc<Users>,
    admission: Admission,
    clock: Clock,
    directory: Arc<Directory>,
    federation: Arc<Federation>,
    freshness: Freshness,
    http: Arc<Context>,
    jobs: Jobs,
    limits: Limits,
    random: Random,
    read_state: Arc<ReadState>,
    rooms: Arc<Rooms>,
    stopping: CancellationToken,
    store: Store,
    sources: Arc<Sources>,
    typing: Typing,
    waiters: Waiters,
}
