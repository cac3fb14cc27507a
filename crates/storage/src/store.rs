//! Opening a database, and giving out connections to it.

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
    /// A URL for what needs a session of its own, where `url` leads to a transaction pooler.
    pub direct_url: Option<String>,
    /// The largest number of pooled connections.
    pub max_connections: u32,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is of neither database.
    #[error("`{0}` is not a database URL: it must begin with `sqlite:` or `postgres://`")]
    Url(String),
    /// The database does not answer or refuses the connection.
    #[error("the database cannot be reached: {}", reason(.0))]
    Unreachable(#[source] sqlx::Error),
    /// The file of a SQLite database cannot be opened, or is not one.
    #[error("the SQLite database `{}` cannot be opened: {}", path.display(), reason(error))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migrate(#[source] MigrateError),
    /// The schema is not the one of a released version.
    #[error(
        "this database was made by another build of Stoa, whose migration {0} is not the one of \
         this build. Run that build, or use another database"
    )]
    OtherBuild(i64),
    /// The database was brought up to date by a version with which this one cannot share it.
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
         `{configured}`. A server name cannot be changed: every user and room bears it. Set \
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

/// What an admin can use of an error: what the database or the system says, without where in their
/// sources they say it.
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

/// A database that is open. Cheap to clone.
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

    /// Opens the database; one in SQLite is created where there is none.
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
        // A transaction pooler does not pass these on; its own configuration has to.
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

    /// A connection to read with.
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

    /// A read-only transaction in which every statement sees the same moment.
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

    /// A transaction to write with, which must be committed. In SQLite it is the only one at a
    /// time, and the log's writer waits for it: hold it briefly.
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

    /// A connection to follow the log with that is kept, on a session of its own, by one of the few
    /// parts that must not wait behind requests.
    pub(crate) async fn dedicated(&self) -> Result<Conn> {
        let count = self.statements.of(StatementKind::Follow);
        Ok(match &self.pools {
            Pools::Sqlite { readers, .. } => Conn::new(readers.acquire().await?, count),
            Pools::Postgres { direct, .. } => Conn::lent(direct.acquire().await?, count),
        })
    }

    /// How many statements were sent to the database since it was opened, by what for.
    pub fn statements(&self) -> [(StatementKind, u64); 4] {
        self.statements.all()
    }

    /// The one connection that writes to SQLite, outside of a transaction.
    #[instrument(name = "connection", level = "debug", skip_all, fields(purpose = "append"))]
    pub(crate) async fn sqlite_writer(&self) -> Result<PoolConnection<Sqlite>> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => Ok(writer.acquire().await?),
            Pools::Postgres { .. } => Err(Error::fault("not SQLite")),
        }
    }

    /// What counts the statements of transactions that write.
    pub(crate) fn writes(&self) -> StatementCount {
        self.statements.of(StatementKind::Write)
    }

    /// What counts the statements of the log's writer on its own connection.
    pub(crate) fn appends(&self) -> StatementCount {
        self.statements.of(StatementKind::Append)
    }

    /// Whether the database answers, as far as is known: a host that is silent is noticed within a
    /// few seconds.
    pub fn is_answering(&self) -> bool {
        match &self.pools {
            Pools::Sqlite { .. } => true,
            Pools::Postgres { hosts, .. } => hosts.iter().all(Host::is_answering),
        }
    }

    /// Sessions of PostgreSQL without a pooler in between; none for SQLite.
    pub(crate) fn direct_pool(&self) -> Option<&Pool> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { direct, .. } => Some(direct),
        }
    }

    /// The runs of the PostgreSQL server that were met; none for SQLite.
    pub(crate) fn server_runs(&self) -> Option<&ServerRuns> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { runs, .. } => Some(runs),
        }
    }

    /// Connections that are open and those of them that are idle, for metrics.
    pub fn pool_size(&self) -> (u32, usize) {
        match &self.pools {
            Pools::Sqlite { readers, .. } => (readers.size(), readers.num_idle()),
            Pools::Postgres { pool, .. } => pool.size(),
        }
    }

    /// The size of SQLite's write-ahead log, for metrics; none for PostgreSQL.
    pub fn wal_bytes(&self) -> Option<u64> {
        match &self.pools {
            Pools::Sqlite { wal, .. } => Some(wal.bytes()),
            Pools::Postgres { .. } => None,
        }
    }

    /// Closes every connection, after the statements under way.
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

/// How a session behaves. Where this node's host vanishes, the server finds out within a few
/// seconds, and lets go what the session holds.
const SESSION: [(&str, &str); 8] = [
    ("lock_timeout", "10s"),
    ("statement_timeout", "60s"),
    ("jit", "off"),
    ("tcp_keepalives_idle", "1"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "4s"),
    // What a single statement runs under. Transactions say it themselves.
    ("default_transaction_isolation", "read committed"),
];

const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How many connections read a SQLite database at most. A read is short and waits for nothing, so that
/// more of them than there are processors only take memory: each has a thread and pages of its own.
const SQLITE_READERS: u32 = 8;

/// How much of a SQLite database its writing connection keeps in memory, as a negative number of
/// KiB. Readers, of which there are many, have the usual 2 MiB each; behind them is the system's cache.
const WRITER_CACHE: &str = "-8192";

/// The tailer's connection, the listener's, and one more for when they are made anew.
const DIRECT_CONNECTIONS: u32 = 4;

/// How long a connection may take that cannot be had at once.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// How long connecting for the first time may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connection that was idle for longer than this is tried before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

fn sqlite_pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // Where the disk is full or fails, SQLite ends the transaction by itself. The connection,
        // which then fails to end it, believes for ever that it is in one, and begins no other.
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

/// Connects once: a pool tries again and again, and in the end does not say what stood in its way.
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
