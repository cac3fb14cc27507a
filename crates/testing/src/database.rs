//! Databases that each belong to one test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection,
    sqlite::SqliteConnectOptions,
};
use stoa_storage::{Backend, Options, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Distinguishes the databases made by one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The file of a SQLite database in its folder.
const SQLITE_FILE: &str = "stoa.db";

/// A new database for one test. Dropping it deletes it, even if somebody is still connected.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    folder: TempDir,
    /// On PostgreSQL: the URL of the server, and the name of the database.
    postgres: Option<(String, String)>,
}

impl TestDatabase {
    /// A database on `backend`; `None` for PostgreSQL if there is no server.
    pub async fn create(backend: Backend) -> Option<Self> {
        match backend {
            Backend::Sqlite => Some(Self::sqlite()),
            Backend::Postgres => Self::postgres().await,
        }
    }

    /// A SQLite database in a folder of its own.
    pub fn sqlite() -> Self {
        let folder = TempDir::with_prefix("stoa-test-").expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join(SQLITE_FILE).display());
        Self { url, folder, postgres: None }
    }

    /// A database on the PostgreSQL server at `STOA_TEST_POSTGRES`; `None` if that is not set.
    pub async fn postgres() -> Option<Self> {
        let server = postgres_server()?;
        Some(Self::on_server(&server).await)
    }

    /// A database on the PostgreSQL whose superuser's URL is `server`.
    pub async fn on_server(server: &str) -> Self {
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stoa_test_{}_{count}", std::process::id());
        administer(server, format!("CREATE DATABASE {name}")).await;
        Self {
            url: on_database(server, &name),
            folder: TempDir::with_prefix("stoa-test-").expect("a temporary folder"),
            postgres: Some((server.to_owned(), name)),
        }
    }

    /// Which of the two databases it is.
    pub fn backend(&self) -> Backend {
        if self.postgres.is_some() { Backend::Postgres } else { Backend::Sqlite }
    }

    /// The URL, in the form that the configuration takes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder that is deleted with the database, for media or a node's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The options for opening it.
    pub fn options(&self) -> Options {
        Options { url: self.url.clone(), direct_url: None, max_connections: 8 }
    }

    /// Opens it without migrating it.
    pub async fn open(&self) -> Store {
        Store::open(&self.options()).await.expect("the test database opens")
    }

    /// Opens it with the newest schema.
    pub async fn store(&self) -> Store {
        let store = self.open().await;
        store.migrate().await.expect("the test database is migrated");
        store
    }
}

impl TestDatabase {
    /// Empties the unlogged tables of PostgreSQL, as a crash would.
    pub async fn lose_unlogged_tables(&self) {
        const SQL: &str = "
            DO $$
            DECLARE lost TEXT;
            BEGIN
                SELECT string_agg(oid::regclass::text, ', ') INTO lost
                FROM pg_class WHERE relkind = 'r' AND relpersistence = 'u';
                EXECUTE 'TRUNCATE ' || lost;
            END $$";
        administer(&self.url, SQL.to_owned()).await;
    }

    /// Reads a SQLite database from another connection, as a backup tool does, until the returned
    /// value is dropped.
    pub async fn read_for_long(&self) -> impl Send + use<> {
        let options = SqliteConnectOptions::new().filename(self.file());
        let mut conn = options.connect().await.expect("the database");
        conn.execute("BEGIN; SELECT * FROM counters").await.expect("a reader");
        conn
    }

    /// Keeps a copy of the database as it is, as a backup. Nobody may be using it.
    pub async fn back_up(&self) {
        match &self.postgres {
            None => {
                let (database, backup) = (self.file(), self.file().with_extension("backup"));
                std::fs::copy(database, backup).expect("a backup");
            }
            Some((server, name)) => {
                let sql = format!("CREATE DATABASE {name}_backup TEMPLATE {name}");
                administer(server, sql).await;
            }
        }
    }

    /// Replaces the database with the copy. Nobody may be using it.
    pub async fn restore(&self) {
        match &self.postgres {
            None => {
                let (database, backup) = (self.file(), self.file().with_extension("backup"));
                std::fs::rename(backup, database).expect("a backup");
            }
            Some((server, name)) => {
                administer(server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
                let sql = format!("ALTER DATABASE {name}_backup RENAME TO {name}");
                administer(server, sql).await;
            }
        }
    }

    /// Fills a new database with the output of [`TestDatabase::dump`].
    pub async fn load(&self, sql: &str) {
        let sql = sql.to_owned();
        if self.postgres.is_some() {
            administer(&self.url, sql).await;
            return;
        }
        let options = SqliteConnectOptions::new().filename(self.file());
        let mut conn = options.create_if_missing(true).connect().await.expect("a new database");
        conn.execute(AssertSqlSafe(sql)).await.expect("what was dumped");
        conn.close().await.expect("a database on disk");
    }

    /// The whole database as SQL. It takes `sqlite3` or `pg_dump`, the latter from the oldest
    /// PostgreSQL that is to read the dump.
    pub fn dump(&self) -> String {
        let mut command;
        if self.postgres.is_some() {
            command = Command::new("pg_dump");
            command.args(["--rows-per-insert=50", "--no-owner", "--no-privileges", &self.url]);
        } else {
            command = Command::new("sqlite3");
            command.arg(self.file()).arg(".dump");
        }
        let output = command.output().expect("the program that dumps");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sql = String::from_utf8(output.stdout).expect("text");
        // Leaves out lines that are meant for psql and not the server, and those that only say when
        // the dump was made.
        let is_sql = |line: &&str| !line.starts_with('\\') && !line.starts_with("--");
        sql.lines().filter(is_sql).fold(String::new(), |sql, line| sql + line + "\n")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(SQLITE_FILE)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = self.postgres.take() else { return };
        // On a thread with a runtime of its own, because this thread may be inside a runtime.
        let dropping = std::thread::spawn(move || {
            let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            runtime().block_on(administer(&server, sql));
        });
        if dropping.join().is_err() {
            eprintln!("a test database could not be dropped");
        }
    }
}

/// Runs a test on a new database of `backend`, on a runtime of its own. For PostgreSQL without a
/// server, it passes and prints a note.
pub fn run_on(backend: Backend, test: impl AsyncFnOnce(&TestDatabase)) {
    let runtime = runtime();
    let Some(database) = runtime.block_on(TestDatabase::create(backend)) else { return };
    runtime.block_on(test(&database));
    // Whatever the test has left running ends before its database is deleted.
    runtime.shutdown_timeout(Duration::from_secs(5));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The URL of the PostgreSQL server for tests; `None` if tests run without one.
pub(crate) fn postgres_server() -> Option<String> {
    if let Ok(server) = std::env::var("STOA_TEST_POSTGRES") {
        return Some(server);
    }
    if is_required() {
        panic!("PostgreSQL is required, and STOA_TEST_POSTGRES is not set");
    }
    eprintln!("skipped: STOA_TEST_POSTGRES is not set");
    None
}

/// Whether a test that cannot run because something is missing fails.
pub(crate) fn is_required() -> bool {
    std::env::var("STOA_TEST_REQUIRE_POSTGRES").is_ok_and(|required| required == "1")
}

async fn administer(server: &str, sql: String) {
    let mut conn = PgConnection::connect(server).await.expect("the PostgreSQL for tests answers");
    conn.execute(AssertSqlSafe(sql.as_str()))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    // The server also notices a connection that is dropped.
    let _ = conn.close().await;
}

/// The URL of another database on the same server.
fn on_database(server: &str, name: &str) -> String {
    let (address, parameters) =
        server.split_once('?').map_or((server, None), |(address, rest)| (address, Some(rest)));
    let after_scheme = address.find("://").map_or(0, |at| at + 3);
    let end = address[after_scheme..].find('/').map_or(address.len(), |at| after_scheme + at);
    let address = &address[..end];
    match parameters {
        Some(parameters) => format!("{address}/{name}?{parameters}"),
        None => format!("{address}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let replaced = |url| on_database(url, "new");
        assert_eq!(replaced("postgres://u:p@h:1/old?a=b"), "postgres://u:p@h:1/new?a=b");
        assert_eq!(replaced("postgres://u@h/old"), "postgres://u@h/new");
        assert_eq!(replaced("postgres://u@h"), "postgres://u@h/new");
    }

    crate::both_databases! {
        async fn a_database_is_new_and_has_the_schema(db: TestDatabase) {
            let store = db.store().await;
            assert_eq!(store.backend(), db.backend());
            let mut conn = store.read().await.unwrap();
            let head = stoa_storage::log::head(&mut conn).await.unwrap();
            assert_eq!(head, stoa_base::Pos::START);
        }
    }
}
