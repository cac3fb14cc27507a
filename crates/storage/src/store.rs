//! Opens a database and gives out connections to it.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Sqlite, SqlitePool,
    migrate::MigrateError,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use stoa_base::TimeSpent;
use tracing::instrument;

use crate::{
    Backend, Conn, Error, Result,
    postgres_host::{Host, Pool},
    server::{self, BEGIN_WRITE, ServerRun, ServerRuns},
    statements::{StatementCount, StatementKind, Statements},
    wal::Wal,
};

/// Where the database is and how it is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// A URL for connections that need a session of their own, in case `url` leads to a transaction
    /// pooler.
    pub direct_url: Option<String>,
    /// The largest number of pooled connections.
    pub max_connections: u32,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names neither database.
    #[error("`{0}` is not a database URL: it must begin with `sqlite:` or `postgres://`")]
    Url(String),
    /// The database does not answer or refuses the connection.
    #[error("the database cannot be reached: {}", reason(.0))]
    Unreachable(#[source] sqlx::Error),
    /// The file of a SQLite database cannot be opened, or is not one.
    #[error("the SQLite database `{}` cannot be opened: {}", path.display(), reason(error))]
    File {
        /// The path of the file.
        path: PathBuf,
        /// Why.
        #[source]
        error: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migrate(#[source] MigrateError),
    /// The schema was not made by a released version.
    #[error(
        "this database was made by another build of Stoa, whose migration {0} differs from that of \
         this build. Run that build, or use another database"
    )]
    OtherBuild(i64),
    /// The database was brought up to date by a version that this one cannot share it with.
    #[error(
        "this database was brought up to date by a newer Stoa, and the oldest version that may run \
         on it is {oldest}; this is {own}. Run {oldest} or a newer one, or go back to a backup from \
         before the upgrade"
    )]
    TooNew {
        /// The oldest version that may run.
        oldest: String,
        /// The version of this program.
        own: &'static str,
    },
    /// The database was made for another server name.
    #[error(
        "this database belongs to the server name `{found}`, and the configuration says \
         `{configured}`. A server name cannot be changed: it is part of every user ID. Set \
         `server_name` back, or use another database"
    )]
    ServerName {
        /// The name in the database.
        found: String,
        /// The name in the configuration.
        configured: String,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// The part of an error that is useful to an admin: what the database or the system says, without
/// the place in their source code.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

impl From<MigrateError> for OpenError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMismatch(number) => Self::OtherBuild(number),
            error => Self::Migrate(error),
        }
    }
}

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    statements: Statements,
}

#[derive(Clone, Debug)]
pub(crate) enum Pools {
    Sqlite { readers: SqlitePool, writer: SqlitePool, wal: Wal },
    Postgres { pool: Pool, direct: Pool, hosts: Vec<Host>, runs: ServerRuns },
}

impl Store {
    fn new(pools: Pools) -> Self {
        Self { pools, statements: Statements::default() }
    }

    /// Opens the database. A SQLite database is created if it does not exist.
    pub async fn open(options: &Options) -> Result<Self, OpenError> {
        if let Some(path) = options.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Self::open_sqlite(Path::new(path), options.max_connections).await
        } else if options.url.starts_with("postgres:") || options.url.starts_with("postgresql:") {
            Self::open_postgres(options).await
        } else {
            Err(OpenError::Url(options.url.clone()))
        }
    }

    async fn open_sqlite(path: &Path, max_connections: u32) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(false)
            .pragma("temp_store", "memory");
        let writer = sqlite_pool_options()
            .max_connections(1)
            .connect_with(options.clone().pragma("cache_size", WRITER_CACHE))
            .await
            .map_err(|error| OpenError::File { path: path.to_owned(), error })?;
        let readers = sqlite_pool_options()
            .max_connections(max_connections.min(SQLITE_READERS))
            .connect_lazy_with(options.create_if_missing(false).pragma("query_only", "on"));
        let wal = Wal::watch(path, writer.clone());
        Ok(Self::new(Pools::Sqlite { readers, writer, wal }))
    }

    async fn open_postgres(options: &Options) -> Result<Self, OpenError> {
        let parse = |url: &str| PgConnectOptions::from_str(url).map_err(OpenError::Unreachable);
        let limited = |options: PgConnectOptions| options.application_name("stoa").options(SESSION);
        // A transaction pooler does not pass these on, so it has to set them itself.
        let (pooled, direct) = match &options.direct_url {
            None => (limited(parse(&options.url)?), limited(parse(&options.url)?)),
            Some(direct) => (parse(&options.url)?, limited(parse(direct)?)),
        };
        let runs = ServerRuns::new(try_out(&pooled).await.map_err(OpenError::Unreachable)?);
        let pool = pool_options(&runs).max_connections(options.max_connections);
        let pool = Pool::new(pool, pooled);
        let few = pool_options(&runs).max_connections(DIRECT_CONNECTIONS).max_lifetime(None);
        let direct = Pool::new(few, direct);
        let hosts = match &options.direct_url {
            None => vec![Host::watch(vec![pool.clone(), direct.clone()])],
            Some(_) => vec![Host::watch(vec![pool.clone()]), Host::watch(vec![direct.clone()])],
        };
        Ok(Self::new(Pools::Postgres { pool, direct, hosts, runs }))
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        match self.pools {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::Postgres { .. } => Backend::Postgres,
        }
    }

    /// A connection for reading.
    #[instrument(name = "connection", level = "debug", skip_all, fields(purpose = "read"))]
    pub async fn read(&self) -> Result<Conn> {
        let _spending = TimeSpent::on_database();
        let count = self.statements.of(StatementKind::Read);
        Ok(match &self.pools {
            Pools::Sqlite { readers, wal, .. } => {
                let admission = wal.admit().await;
                Conn::new(readers.acquire().await?, count).admitted(admission)
            }
            Pools::Postgres { pool, .. } => Conn::lent(pool.acquire().await?, count),
        })
    }

    /// A read-only transaction in which every statement sees the same snapshot.
    #[instrument(name = "connection", level = "debug", skip_all, fields(purpose = "snapshot"))]
    pub async fn snapshot(&self) -> Result<Conn> {
        let _spending = TimeSpent::on_database();
        let count = self.statements.of(StatementKind::Read);
        Ok(match &self.pools {
            Pools::Sqlite { readers, wal, .. } => {
                let admission = wal.admit().await;
                Conn::new(readers.begin_with("BEGIN DEFERRED").await?, count).admitted(admission)
            }
            Pools::Postgres { pool, .. } => {
                Conn::lent(pool.begin_with(BEGIN_SNAPSHOT).await?, count)
            }
        })
    }

    /// A transaction for writing, which must be committed. On SQLite there is only one at a time,
    /// and the log's writer waits for it, so hold it briefly.
    #[instrument(name = "connection", level = "debug", skip_all, fields(purpose = "write"))]
    pub async fn write(&self) -> Result<Conn> {
        let _spending = TimeSpent::on_database();
        let count = self.statements.of(StatementKind::Write);
        Ok(match &self.pools {
            Pools::Sqlite { writer, .. } => {
                Conn::new(writer.begin_with("BEGIN IMMEDIATE").await?, count)
            }
            Pools::Postgres { pool, .. } => Conn::lent(pool.begin_with(BEGIN_WRITE).await?, count),
        })
    }

    /// A connection for following the log, with a session of its own. It is kept open, and meant
    /// for the few parts that must not wait behind requests.
    pub(crate) async fn dedicated(&self) -> Result<Conn> {
        let count = self.statements.of(StatementKind::Follow);
        Ok(match &self.pools {
            Pools::Sqlite { readers, .. } => Conn::new(readers.acquire().await?, count),
            Pools::Postgres { direct, .. } => Conn::lent(direct.acquire().await?, count),
        })
    }

    /// How many statements were sent since the database was opened, by purpose.
    pub fn statements(&self) -> [(StatementKind, u64); 4] {
        self.statements.all()
    }

    /// The one connection that writes to SQLite, without a transaction.
    #[instrument(name = "connection", level = "debug", skip_all, fields(purpose = "append"))]
    pub(crate) async fn sqlite_writer(&self) -> Result<PoolConnection<Sqlite>> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => Ok(writer.acquire().await?),
            Pools::Postgres { .. } => Err(Error::fault("not SQLite")),
        }
    }

    /// The counter for statements of transactions that write.
    pub(crate) fn writes(&self) -> StatementCount {
        self.statements.of(StatementKind::Write)
    }

    /// The counter for statements that the log's writer sends on its own connection.
    pub(crate) fn appends(&self) -> StatementCount {
        self.statements.of(StatementKind::Append)
    }

    /// Whether the database answers, as far as is known. A silent host is noticed within a few
    /// seconds.
    pub fn is_answering(&self) -> bool {
        match &self.pools {
            Pools::Sqlite { .. } => true,
            Pools::Postgres { hosts, .. } => hosts.iter().all(Host::is_answering),
        }
    }

    /// PostgreSQL sessions that bypass any pooler; `None` on SQLite.
    pub(crate) fn direct_pool(&self) -> Option<&Pool> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { direct, .. } => Some(direct),
        }
    }

    /// The runs of the PostgreSQL server that this store has met; `None` on SQLite.
    pub(crate) fn server_runs(&self) -> Option<&ServerRuns> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { runs, .. } => Some(runs),
        }
    }

    /// The number of open connections, and how many of them are idle, for metrics.
    pub fn pool_size(&self) -> (u32, usize) {
        match &self.pools {
            Pools::Sqlite { readers, .. } => (readers.size(), readers.num_idle()),
            Pools::Postgres { pool, .. } => pool.size(),
        }
    }

    /// The size of SQLite's write-ahead log, for metrics; `None` on PostgreSQL.
    pub fn wal_bytes(&self) -> Option<u64> {
        match &self.pools {
            Pools::Sqlite { wal, .. } => Some(wal.bytes()),
            Pools::Postgres { .. } => None,
        }
    }

    /// Closes every connection once its current statement is done.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { readers, writer, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { pool, direct, hosts, .. } => {
                hosts.iter().for_each(Host::unwatch);
                pool.close().await;
                direct.close().await;
            }
        }
    }
}

/// The settings of a session. If this node's host vanishes, the server notices within a few seconds
/// and releases what the session holds.
const SESSION: [(&str, &str); 8] = [
    ("lock_timeout", "10s"),
    ("statement_timeout", "60s"),
    ("jit", "off"),
    ("tcp_keepalives_idle", "1"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "4s"),
    // Settings for single statements. Transactions set theirs when they begin.
    ("default_transaction_isolation", "read committed"),
];

const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The maximum number of connections that read a SQLite database. A read is short and waits for
/// nothing, so more readers than processors only cost memory: each has its own thread and page
/// cache.
const SQLITE_READERS: u32 = 8;

/// How much of a SQLite database the writing connection caches in memory, as a negative number of
/// KiB. The many readers keep the default 2 MiB each; behind them is the system's cache.
const WRITER_CACHE: &str = "-8192";

/// The tailer's connection, the listener's, and a spare for when they are reopened.
const DIRECT_CONNECTIONS: u32 = 4;

/// How long to wait for a connection when none is free.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// How long the first connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connection that was idle for longer than this is checked before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

fn sqlite_pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // If the disk is full or fails, SQLite ends the transaction by itself. The connection's own
        // attempt to end it then fails, and from then on it believes that it is in a transaction
        // and begins no other.
        .before_acquire(|conn, _| {
            let is_usable = !sqlx::Connection::is_in_transaction(conn);
            Box::pin(async move { Ok(is_usable) })
        })
}

fn pool_options(runs: &ServerRuns) -> PgPoolOptions {
    let runs = runs.clone();
    PgPoolOptions::new()
        .acquire_timeout(ACQUIRE_LIMIT)
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_FOR {
                    sqlx::Connection::ping(conn).await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |conn, _| {
            let runs = runs.clone();
            Box::pin(async move { runs.begin_session(conn).await.map(drop) })
        })
}

/// Connects once. A pool would keep retrying, and in the end not say what the problem was.
async fn try_out(options: &PgConnectOptions) -> sqlx::Result<ServerRun> {
    let connecting = async {
        let mut conn = options.connect().await?;
        let run = server::greet(&mut conn).await?;
        conn.close().await?;
        Ok(run)
    };
    let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
    connected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}
