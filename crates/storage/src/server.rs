//! How a PostgreSQL session begins, and what writes rely on there.
//!
//! # What is read is as durable as what is written
//!
//! A commit waits for its flush and for the synchronous standby, and nobody else sees it until
//! then. But if the server restarts in between, it recovers the commit from its own disk and shows
//! rows that its standby may not have. A node that answered from such rows would acknowledge
//! something that a fail-over takes away.
//!
//! So every session begins with a small synchronous commit of its own ([`confirm`]). A standby that
//! has received it has also received everything before it, including all that the server has
//! recovered, because the server recovers first and admits sessions afterwards. A session ends when
//! its server does, so what was true of the server at the session's beginning stays true to its
//! end. This applies to the writer, the reader of the log, and pooled sessions alike: none of them
//! gives out anything before its commit is answered. It costs one commit per session and nothing
//! per request. While the standby is missing, open sessions can still read; new ones wait, as
//! writes do.
//!
//! Two cases are not covered. If an admin cancels a commit that is waiting for the standby,
//! PostgreSQL makes it visible without having waited, and says so in its log. And a transaction
//! pooler hides a restart from the sessions behind it: there only the log's reader and writer,
//! which bypass the pooler, are sure to notice. A request that waited for [the log](crate::log)
//! before it read is still right, unless the server restarts between the two.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Executor as _, PgConnection, Row as _};

/// Makes the current transaction wait for its flush, and for a synchronous standby if there is one,
/// whatever the defaults of the role and the database are. A stronger setting stays.
macro_rules! durable {
    () => {
        "SELECT set_config('synchronous_commit', 'on', true) \
         WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
    };
}

/// Begins a transaction that writes. If its node freezes in the middle, the server ends it, because
/// its row locks may block appends. All settings are given here, since the session may be a
/// pooler's and have the defaults of the role.
pub(crate) const BEGIN_WRITE: &str = concat!(
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
     SET LOCAL idle_in_transaction_session_timeout = '750ms'; ",
    durable!()
);

/// An empty commit, which needs no table. Only one runs at a time: while the standby is missing, a
/// single session hangs in its commit, which nothing can end, instead of every session that is
/// tried.
const CONFIRM: &str = concat!(
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
     SET LOCAL lock_timeout = '5s'; ",
    durable!(),
    ";",
    "SELECT pg_advisory_xact_lock(7310579621); \
     SELECT pg_logical_emit_message(true, 'stoa', ''); \
     COMMIT"
);

const GREET: &str = "
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off',
    CASE WHEN pg_is_in_recovery() THEN '' ELSE concat_ws(' ',
        'timeline', substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
        'started', extract(epoch FROM pg_postmaster_start_time()),
        'database', (SELECT oid FROM pg_database WHERE datname = current_database())) END";

/// One run of a server on one database. Another run may lack data that the run before had: after a
/// fail-over the timeline differs, after a restore the start time or the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerRun(String);

/// The first and the last run of the server that this store has met.
#[derive(Clone, Debug)]
pub(crate) struct ServerRuns {
    first: ServerRun,
    last: Arc<Mutex<ServerRun>>,
}

impl ServerRuns {
    pub(crate) fn new(first: ServerRun) -> Self {
        Self { last: Arc::new(Mutex::new(first.clone())), first }
    }

    pub(crate) fn first(&self) -> &ServerRun {
        &self.first
    }

    /// Makes a new session fit for reading and writing, and returns the run of its server.
    pub(crate) async fn begin_session(&self, conn: &mut PgConnection) -> sqlx::Result<ServerRun> {
        let run = greet(conn).await?;
        confirm(conn).await?;
        self.note(&run);
        Ok(run)
    }

    fn note(&self, run: &ServerRun) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != *run {
            tracing::warn!(before = last.0, now = run.0, "PostgreSQL was restarted or replaced");
            *last = run.clone();
        }
    }
}

/// Which run of the server a connection leads to. A server that cannot write is refused, wherever
/// the address leads at the moment.
pub(crate) async fn greet(conn: &mut PgConnection) -> sqlx::Result<ServerRun> {
    let row = sqlx::query(GREET).fetch_one(conn).await?;
    if row.try_get(0)? {
        row.try_get(1).map(ServerRun)
    } else {
        Err(sqlx::Error::Configuration("the PostgreSQL server is read-only or recovering".into()))
    }
}

/// Commits, and waits for the flush and the synchronous standby. Afterwards everything that this
/// session can see is durable.
pub(crate) async fn confirm(conn: &mut PgConnection) -> sqlx::Result<()> {
    conn.execute(CONFIRM).await?;
    Ok(())
}
