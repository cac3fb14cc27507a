//! Brings the schema up to date, and refuses one that is too new.
//!
//! The schema records the oldest version of the program that may run on it. A migration that
//! removes something older versions need raises that version; one that only adds leaves it, so
//! nodes of the previous version keep running after the first node of the next one has migrated.

use std::time::Duration;

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use crate::{Conn, OpenError, Store, server, store::Pools};

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The table that records the applied migrations.
const TABLE: &str = "_sqlx_migrations";

/// A lock held on PostgreSQL by the one node that migrates.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(7310579620)";

/// How often a waiting node checks whether another one has finished migrating.
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// How often a migration is tried when it cannot lock a table, and the pause in between.
const TRIES: u32 = 30;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// The settings of a session that migrates. Filling a new index may take any time. Waiting for a
/// table may not, because everybody else who needs the table queues up behind. The server ends a
/// session whose node froze.
const SESSION: [(&str, &str); 5] = [
    ("statement_timeout", "0"),
    ("client_min_messages", "warning"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("idle_session_timeout", "60s"),
];

fn sqlite() -> Migrator {
    configured(sqlx::migrate!("../../migrations/sqlite"))
}

fn postgres() -> Migrator {
    configured(sqlx::migrate!("../../migrations/postgres"))
}

/// Migrations applied by a newer version are not an error: that version says who may still run.
fn configured(mut migrator: Migrator) -> Migrator {
    migrator.set_ignore_missing(true).set_locking(false);
    migrator
}

impl Store {
    /// Makes the database ready for this program and `server_name`, or refuses it and changes
    /// nothing. Returns how many migrations were applied.
    pub async fn prepare(&self, server_name: &str) -> Result<usize, OpenError> {
        let mut conn = self.read().await?;
        if has_deployment(&mut conn).await? {
            check_version(&mut conn).await?;
            check_server_name(&mut conn, server_name).await?;
        }
        drop(conn);
        let applied = self.migrate().await?;
        self.claim(server_name).await?;
        // A newer version may have migrated in between.
        check_version(&mut self.read().await?).await?;
        Ok(applied)
    }

    /// Whether all migrations that this program knows are applied. Changes nothing.
    pub async fn is_migrated(&self) -> crate::Result<bool> {
        let mut conn = self.read().await?;
        if !has_deployment(&mut conn).await? {
            return Ok(false);
        }
        let newest = sqlite().iter().map(|migration| migration.version).max();
        let sql = "SELECT COUNT(*) FROM _sqlx_migrations WHERE version = $1";
        let (count,): (i64,) = conn.one(sql, &[newest.unwrap_or_default().into()]).await?;
        Ok(count > 0)
    }

    /// Applies the missing migrations, and returns how many there were.
    pub async fn migrate(&self) -> Result<usize, OpenError> {
        match self.pools() {
            Pools::Sqlite { writer, .. } => {
                let mut conn = writer.acquire().await.map_err(crate::Error::from)?;
                Ok(apply(&mut *conn, &sqlite()).await?)
            }
            Pools::Postgres { direct, .. } => migrate_postgres(direct.options().clone()).await,
        }
    }

    /// Claims a new database for `server_name`, or checks that the database belongs to it.
    pub async fn claim(&self, server_name: &str) -> Result<(), OpenError> {
        let mut conn = self.write().await?;
        conn.execute(
            "INSERT INTO deployment (name, value) VALUES ('server_name', $1) ON CONFLICT DO NOTHING",
            &[server_name.into()],
        )
        .await?;
        check_server_name(&mut conn, server_name).await?;
        Ok(conn.commit().await?)
    }
}

/// One node migrates at a time; the others wait, and then find nothing left to do.
async fn migrate_postgres(options: PgConnectOptions) -> Result<usize, OpenError> {
    let mut conn = options.options(SESSION).connect().await.map_err(OpenError::Unreachable)?;
    // The lock is polled. Building an index concurrently waits for every running statement, and
    // would also wait for a statement that waits for the lock.
    let mut is_waiting = false;
    while !lock(&mut conn).await? {
        if !std::mem::replace(&mut is_waiting, true) {
            tracing::info!("another node is migrating the database; waiting for it");
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    let known = postgres();
    let mut tried = 0;
    let applied = loop {
        tried += 1;
        match apply(&mut conn, &known).await {
            Err(error) if is_lock_timeout(&error) && tried < TRIES => {
                tracing::warn!(%error, "a migration is waiting for running statements");
                tokio::time::sleep(TRY_PAUSE).await;
            }
            outcome => break outcome?,
        }
    };
    // Whatever the role's default is, the migrations are flushed before anything else is written.
    server::confirm(&mut conn).await.map_err(crate::Error::from)?;
    // Closing the session releases the lock.
    conn.close().await.map_err(crate::Error::from)?;
    Ok(applied)
}

async fn lock(conn: &mut PgConnection) -> crate::Result<bool> {
    Ok(sqlx::query_scalar(TRY_LOCK).fetch_one(conn).await?)
}

async fn apply<C: Migrate>(conn: &mut C, known: &Migrator) -> Result<usize, MigrateError> {
    conn.ensure_migrations_table(TABLE).await?;
    let applied = conn.list_applied_migrations(TABLE).await?;
    known.run_direct(None, conn, false).await?;
    let is_new = |version| applied.iter().all(|migration| migration.version != version);
    Ok(known.iter().filter(|migration| is_new(migration.version)).count())
}

fn is_lock_timeout(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

/// Whether the database was ever migrated.
async fn has_deployment(conn: &mut Conn) -> crate::Result<bool> {
    let sql = conn.either(
        "SELECT COUNT(*) FROM sqlite_master WHERE name = 'deployment'",
        "SELECT COUNT(to_regclass('deployment'))",
    );
    let (count,): (i64,) = conn.one(sql, &[]).await?;
    Ok(count > 0)
}

async fn deployment(conn: &mut Conn, name: &str) -> crate::Result<Option<String>> {
    let sql = "SELECT value FROM deployment WHERE name = $1";
    let value: Option<(String,)> = conn.optional(sql, &[name.into()]).await?;
    Ok(value.map(|(value,)| value))
}

async fn check_server_name(conn: &mut Conn, configured: &str) -> Result<(), OpenError> {
    match deployment(conn, "server_name").await? {
        Some(found) if found != configured => {
            Err(OpenError::ServerName { found, configured: configured.to_owned() })
        }
        _ => Ok(()),
    }
}

async fn check_version(conn: &mut Conn) -> Result<(), OpenError> {
    match deployment(conn, "oldest_version").await? {
        Some(oldest) if version(&oldest).is_none_or(|oldest| Some(oldest) > version(VERSION)) => {
            Err(OpenError::TooNew { oldest, own: VERSION })
        }
        _ => Ok(()),
    }
}

/// The three numbers of a version; `None` if the text is not a version.
fn version(text: &str) -> Option<[u64; 3]> {
    let release = text.split(['-', '+']).next()?;
    let numbers: Vec<u64> = release.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(version("1.2.3"), Some([1, 2, 3]));
        assert_eq!(version("1.2.3-rc.1+build"), Some([1, 2, 3]));
        assert!(version("0.10.0") > version("0.9.9"));
        for text in ["", "1", "1.2", "1.2.3.4", "one.2.3"] {
            assert_eq!(version(text), None, "{text}");
        }
        assert!(version(VERSION).is_some());
    }
}
