//! Builds every part of the server once and connects them. Nothing else does.

#[cfg(test)]
mod fixtures;
mod folder;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::{sync::Arc, time::Duration};

use axum::Router;
use stoa_accounts::{Accounts, AttemptLimits, DeploymentSecret, FilterCache, SessionCache, Totals};
use stoa_appservices::{RegistrationErrors, Registrations};
use stoa_base::{Clock, Random};
use stoa_cluster::{
    CacheKeeper, Freshness, Job, Jobs, JobsOptions, Leases, Nodes, Tailer, TailerOptions, Waiters,
};
use stoa_config::{Config, DatabaseUrl};
use stoa_directory::Directory;
use stoa_ephemeral::Typing;
use stoa_federation::Federation;
use stoa_http::{Admission, Context, Limits, TrustedProxies, panics::Panics};
use stoa_push::ReadState;
use stoa_rooms::{RoomCaches, Rooms, RoomsOptions};
use stoa_storage::{
    NidAllocator, OpenError, Options as StoreOptions, Store,
    log::{self, OnCommit, Writer, WriterOptions},
};
use stoa_sync::{ChangeIndex, Sources};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::watch::Watch;
pub use self::{
    folder::{DataFolder, FolderError},
    state::{AppState, Parts},
};
use crate::{audit::HeadExport, jobs::deactivate_account::DeactivateAccount, router};

/// How many bytes of sessions a node remembers, roughly.
const SESSION_CACHE: u64 = 32 << 20;

/// How many bytes of filters a node remembers, roughly.
const FILTER_CACHE: u64 = 8 << 20;

/// How many users can share one address, as those of one site do: failed logins per address are
/// allowed this many times as often as per user.
const SITE: u32 = 10;

/// How often expired rows are deleted and changes kept in memory are written to the database.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);

/// How long the server waits, when it stops, for queued appends to be written.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What tests can change and a deployment cannot configure.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The time.
    pub clock: Clock,
    /// Where random values come from.
    pub random: Random,
    /// The limits of the log's writer.
    pub writer: WriterOptions,
    /// How the log is followed.
    pub tailer: TailerOptions,
    /// How jobs are run.
    pub jobs: JobsOptions,
    /// How expensive it is to try a password.
    pub password_cost: stoa_accounts::PasswordCost,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            random: Random::system(),
            writer: WriterOptions::default(),
            tailer: TailerOptions::default(),
            jobs: JobsOptions::default(),
            password_cost: stoa_accounts::PasswordCost::default(),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The registration files of application services are wrong.
    #[error(transparent)]
    Registrations(#[from] RegistrationErrors),
    /// Passwords cannot be hashed at the cost that is asked for.
    #[error(transparent)]
    PasswordCost(#[from] stoa_accounts::BadPasswordCost),
}

impl From<stoa_storage::Error> for StartError {
    fn from(error: stoa_storage::Error) -> Self {
        Self::Database(error.into())
    }
}

/// A running server: one node of the deployment.
#[derive(Debug)]
pub struct App {
    state: AppState,
    writer: JoinHandle<()>,
    /// Background tasks, aborted when the server stops.
    background: Vec<AbortOnDropHandle<()>>,
    watch: Watch,
    /// Held until everything is closed.
    _folder: DataFolder,
}

impl App {
    /// Builds the server on its database, which is created or migrated first.
    pub async fn start(config: Config, environment: Environment) -> Result<Self, StartError> {
        let files = &config.appservices.registrations;
        let registrations = Registrations::load(files, &config.server_name)?;
        for warning in registrations.warnings() {
            tracing::warn!("{warning}");
        }
        let (folder, store) = open_database(&config).await?;
        store.prepare(config.server_name.as_str()).await?;
        let incarnation = begin_run(&store).await?;
        let nodes = Nodes::join(store.clone(), incarnation, env!("CARGO_PKG_VERSION")).await?;
        let Environment { clock, random, .. } = environment;
        let leases = Leases::new(store.clone(), clock.clone(), incarnation);
        let jobs = Jobs::new(store.clone(), leases.clone(), environment.jobs);

        let nids = Arc::new(NidAllocator::new(store.clone()));
        let sessions = SessionCache::new(SESSION_CACHE);
        let filters = FilterCache::new(FILTER_CACHE);
        let room_options = RoomsOptions {
            default_version: config.rooms.default_version.clone(),
            joined_rooms: config.limits.totals.joined_rooms as usize,
            ..RoomsOptions::default()
        };
        let room_caches = RoomCaches::new(&store, &nids, &room_options);
        let mut caches: Vec<Arc<dyn CacheKeeper>> =
            vec![Arc::clone(&sessions) as _, Arc::clone(&filters) as _, Arc::clone(&nids) as _];
        caches.extend(room_caches.keepers());
        let changes = Arc::new(ChangeIndex::new());
        caches.push(Arc::clone(&changes) as _);
        let waiters = Waiters::default();
        let interval = environment.tailer.interval;
        let (typing, following) =
            Typing::start(&store, clock.clone(), waiters.clone(), interval).await?;
        caches.push(Arc::new(typing.clone()));
        let tailer = Tailer::start(store.clone(), caches, waiters.clone()).await?;
        let stopping = CancellationToken::new();
        let watch = Watch::new(stopping.clone());
        let beside =
            |part, task| AbortOnDropHandle::new(watch.over(part, AbortOnDropHandle::new(task)));
        let mut background = vec![beside("typing", following)];
        if tailer.is_shared() {
            background.push(beside("the reader of the log", tailer.spawn(environment.tailer)));
        }
        let on_commit = Arc::clone(&tailer) as Arc<dyn OnCommit>;
        let (writer, writing) =
            Writer::spawn(store.clone(), incarnation, clock.clone(), on_commit, environment.writer);
        let writing = watch.over("the writer of the log", writing);
        let freshness = Freshness::new(store.clone(), Arc::clone(&tailer));

        let secret = DeploymentSecret::load_or_create(&store, &random).await?;
        let accounts = Arc::new(Accounts::new(
            stoa_accounts::Parts {
                store: store.clone(),
                writer: writer.clone(),
                freshness: freshness.clone(),
                clock: clock.clone(),
                random: random.clone(),
                server_name: config.server_name.clone(),
                sessions,
                filters,
                secret,
            },
            account_options(&config, environment.password_cost),
        )?);

        let key = Arc::new(stoa_rooms::load_or_create_key(&store, &clock, &random).await?);
        let audit =
            Arc::new(HeadExport::new(store.clone(), config.server_name.clone(), Arc::clone(&key)));
        let head_interval = config.audit.head_interval_minutes;
        let rooms = Arc::new(Rooms::new(stoa_rooms::Parts {
            server_name: config.server_name.clone(),
            key,
            clock: clock.clone(),
            random: random.clone(),
            store: store.clone(),
            writer: writer.clone(),
            nids: Arc::clone(&nids),
            caches: room_caches,
            options: room_options,
        }));

        let read_state = Arc::new(ReadState::new(
            store.clone(),
            writer.clone(),
            Arc::clone(&rooms),
            clock.clone(),
        ));
        let sources = Arc::new(Sources::new(stoa_sync::Parts {
            store: store.clone(),
            tailer: Arc::clone(&tailer),
            waiters: waiters.clone(),
            rooms: Arc::clone(&rooms),
            changes,
            typing: typing.clone(),
            read_state: Arc::clone(&read_state),
            stopping: stopping.clone(),
        }));

        let limits = Limits::new(&config.limits, &clock);
        let state = AppState::new(Parts {
            http: Arc::new(Context {
                sessions: Arc::clone(&accounts.sessions),
                freshness: freshness.clone(),
                limits: limits.clone(),
                max_request_bytes: config.limits.max_request_bytes as usize,
                anonymous: config.anonymous.clone(),
                trusted_proxies: TrustedProxies::new(config.listen.trusted_proxies.clone()),
                slow_request: slow_request(&config.log),
                clock: clock.clone(),
                random: random.clone(),
            }),
            federation: Arc::new(Federation { well_known: config.federation.well_known.clone() }),
            limits,
            admission: Admission::new(config.limits.large_response_bytes.into()),
            nids,
            audit,
            directory: Arc::new(Directory::new(store.clone(), Arc::clone(&rooms))),
            read_state,
            typing,
            sources,
            rooms,
            panics: Panics::default(),
            stopping,
            config,
            store,
            writer,
            tailer,
            freshness,
            waiters,
            nodes,
            leases,
            jobs,
            accounts,
            clock,
            random,
        });
        state.limits.set_nodes(state.nodes.live());
        background.push(beside("the count of nodes", tokio::spawn(count_nodes(state.clone()))));
        let jobs = state.jobs.clone().run(kinds_of_jobs(&state));
        background.push(beside("the runner of jobs", tokio::spawn(jobs)));
        background.push(beside("housekeeping", tokio::spawn(housekeeping(state.clone()))));
        let heads = Arc::clone(&state.audit).run(Duration::from_mins(head_interval.get().into()));
        background.push(beside("the export of the audit chain", tokio::spawn(heads)));
        Ok(Self { state, writer: writing, background, watch, _folder: folder })
    }

    /// The parts.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// The HTTP routes for clients.
    pub fn router(&self) -> Router {
        router::router(self.state.clone())
    }

    /// Returns when an essential part has failed. The server should then stop, to be started again.
    pub async fn broken(&self) {
        self.watch.broken().await;
    }

    /// Ends the waiting of syncs and other requests for news, which are then answered at once.
    pub fn begin_stop(&self) {
        self.state.stopping.cancel();
        self.state.waiters.wake_all();
    }

    /// Writes what is still queued and closes the database. The router must have been dropped, so
    /// that nothing else holds the state.
    pub async fn stop(self) {
        self.begin_stop();
        drop(self.background);
        if let Err(error) = self.state.accounts.sessions.flush_last_seen().await {
            tracing::warn!(%error, "when devices were last seen was not written");
        }
        if let Err(error) = self.state.accounts.passwords.flush_failed_logins().await {
            tracing::warn!(%error, "logins that failed were not written to the audit log");
        }
        if let Err(error) = self.state.audit.export().await {
            tracing::warn!(%error, "the head of the audit chain was not exported");
        }
        if let Err(error) = self.state.leases.release_all().await {
            tracing::warn!(%error, "the leases of this node were not released");
        }
        if let Err(error) = self.state.nodes.leave().await {
            tracing::warn!(%error, "the other nodes were not told of the end of this one");
        }
        let store = self.state.store.clone();
        drop(self.state);
        // The writer ends when the last handle for appending is dropped.
        if tokio::time::timeout(DRAIN_TIMEOUT, self.writer).await.is_err() {
            tracing::warn!("the stop did not wait for all appends");
        }
        if tokio::time::timeout(DRAIN_TIMEOUT, store.close()).await.is_err() {
            tracing::warn!("the stop did not wait for all connections to the database");
        }
    }
}

/// Locks the data folder and opens the database, without changing anything in it.
pub async fn open_database(config: &Config) -> Result<(DataFolder, Store), StartError> {
    let url = config.database_url();
    let folder = DataFolder::take(&config.data_dir, &url)?;
    let options = StoreOptions {
        url: match &url {
            DatabaseUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
            DatabaseUrl::Postgres(url) => url.expose().to_owned(),
        },
        direct_url: config.database.direct_url.as_ref().map(|url| url.expose().to_owned()),
        max_connections: config.database.max_connections,
    };
    Ok((folder, Store::open(&options).await?))
}

/// Begins this run of the node: draws its number and moves the log's head above every position
/// given out before, even if the database was restored to an earlier moment since.
async fn begin_run(store: &Store) -> stoa_storage::Result<i64> {
    let mut conn = store.write().await?;
    log::rise_to_now(&mut conn).await?;
    let incarnation = log::new_incarnation(&mut conn).await?;
    conn.commit().await?;
    Ok(incarnation)
}

fn slow_request(log: &stoa_config::Log) -> Option<Duration> {
    (log.slow_request_ms > 0).then(|| Duration::from_millis(log.slow_request_ms.into()))
}

fn account_options(
    config: &Config,
    password_cost: stoa_accounts::PasswordCost,
) -> stoa_accounts::Options {
    let secret = config.registration.shared_secret.as_ref();
    let totals = &config.limits.totals;
    stoa_accounts::Options {
        registration_enabled: config.registration.enabled,
        registration_shared_secret: secret.map(|secret| secret.expose().to_owned()),
        limits: config.limits.enabled.then(|| attempt_limits(&config.limits)),
        totals: Totals {
            account_data_bytes: totals.account_data_bytes.into(),
            account_data_types: totals.account_data_types.into(),
            devices: totals.devices.into(),
            filters: totals.filters.into(),
        },
        password_cost,
        ..stoa_accounts::Options::default()
    }
}

/// Rates that are shared by all nodes are counted in the database, in windows: the burst is what
/// fits into one window.
fn attempt_limits(config: &stoa_config::Limits) -> AttemptLimits {
    let failed = config.failed_logins;
    let window = Duration::from_secs(60) * failed.burst.get() / failed.per_minute.get();
    let registrations = u128::from(config.registrations.per_minute.get()) * window.as_millis();
    let registrations = u32::try_from(registrations / 60_000).unwrap_or(u32::MAX);
    AttemptLimits {
        window,
        failed_logins_per_user: failed.burst.get(),
        failed_logins_per_address: failed.burst.get().saturating_mul(SITE),
        registrations_per_address: registrations.max(config.registrations.burst.get()),
    }
}

/// All kinds of jobs that this version knows.
fn kinds_of_jobs(state: &AppState) -> Vec<Arc<dyn Job>> {
    vec![Arc::new(DeactivateAccount {
        users: Arc::clone(&state.accounts.users),
        devices: Arc::clone(&state.accounts.devices),
        rooms: Arc::clone(&state.rooms),
        freshness: state.freshness.clone(),
    })]
}

/// Sets the number of nodes by which this node divides the rates.
async fn count_nodes(state: AppState) {
    state.nodes.follow(|live| state.limits.set_nodes(live)).await;
}

async fn housekeeping(state: AppState) {
    let mut interval = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    interval.tick().await;
    loop {
        interval.tick().await;
        state.housekeep().await;
    }
}
