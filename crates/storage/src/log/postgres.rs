//! Writing a batch to PostgreSQL: one call of `append_batch` on a connection of the writer's own.

use std::time::Duration;

use serde::Deserialize;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _};
use stoa_base::Pos;

use super::{
    batch::Batch,
    writer::{Conflict, Written},
};
use crate::{Error, Result, Store};

const APPEND: &str = "SELECT append_batch($1::text::jsonb)::text";
const LOG_LOCK: &str = "SELECT pg_advisory_xact_lock(7310579619)";

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a call may take before its outcome counts as unknown: longer than the server's own
/// limits, so that the server speaks first where it can.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// The writer's connection, made anew whenever it was lost.
#[derive(Debug, Default)]
pub(super) struct Session {
    conn: Option<PgConnection>,
    /// Whether a transaction of this connection holds the log lock.
    locked: bool,
    /// The largest head that this node has seen, below which no position is given out again, even
    /// where the database was restored to an earlier moment.
    floor: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Conflicts { conflicts: Vec<Conflict> },
    Committed { prev: i64, last: i64 },
}

impl Session {
    /// Writes the batch under its key, at most once however often it is called, or finds out which
    /// members stand in its way and writes nothing.
    pub(super) async fn write(
        &mut self,
        store: &Store,
        batch: &Batch,
        key: (i64, i64),
        now_ms: i64,
        expected: Pos,
    ) -> Result<Written> {
        self.floor = self.floor.max(expected.0);
        let payload = payload(batch, key, now_ms, expected, self.floor)?;
        let locked = std::mem::take(&mut self.locked);
        let conn = self.connect(store).await?;
        let call = async {
            let row = sqlx::query(APPEND).bind(&payload).fetch_one(&mut *conn).await?;
            if locked {
                conn.execute("COMMIT").await?;
            }
            row.try_get::<String, _>(0)
        };
        let answer = match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let conflicts = conflicts_in(&error);
                let error = Error::from(error);
                if locked || is_outcome_unknown(&error) {
                    self.conn = None;
                }
                return conflicts.map(Written::Conflicts).ok_or(error);
            }
            Err(_) => {
                self.conn = None;
                return Err(sqlx::Error::PoolTimedOut.into());
            }
        };
        match serde_json::from_str(&answer).map_err(Error::corrupt)? {
            Answer::Conflicts { conflicts } => Ok(Written::Conflicts(conflicts)),
            Answer::Committed { prev, last } => {
                self.floor = self.floor.max(last);
                Ok(Written::Committed { prev: Pos(prev), last: Pos(last) })
            }
        }
    }

    /// Takes the log lock and keeps it across round trips, until the next [`Session::write`] or
    /// [`Session::unlock`]. Should this node freeze, the server ends the transaction within a
    /// second.
    pub(super) async fn lock(&mut self, store: &Store) -> Result<()> {
        let conn = self.connect(store).await?;
        conn.execute("BEGIN").await?;
        conn.execute(LOG_LOCK).await?;
        self.locked = true;
        Ok(())
    }

    /// Lets the log lock go where nothing was written under it.
    pub(super) async fn unlock(&mut self) {
        if std::mem::take(&mut self.locked)
            && let Some(conn) = &mut self.conn
            && let Err(error) = conn.execute("ROLLBACK").await
        {
            tracing::warn!(%error, "the log lock was lost");
            self.conn = None;
        }
    }

    async fn connect(&mut self, store: &Store) -> Result<&mut PgConnection> {
        if self.conn.is_none() {
            let options = store.direct().ok_or_else(|| Error::corrupt("not PostgreSQL"))?.clone();
            let options = options.options([
                ("synchronous_commit", "on"),
                ("idle_in_transaction_session_timeout", "900ms"),
                ("lock_timeout", "10s"),
                ("statement_timeout", "12s"),
                ("tcp_user_timeout", "900ms"),
                ("client_connection_check_interval", "500ms"),
            ]);
            let connect = tokio::time::timeout(CONNECT_LIMIT, options.connect());
            let mut conn = connect.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            // Prepared now, a call later is one write and one reply.
            conn.prepare(sqlx::SqlSafeStr::into_sql_str(APPEND)).await?;
            conn.ping().await?;
            self.conn = Some(conn);
        }
        self.conn.as_mut().ok_or_else(|| sqlx::Error::PoolClosed.into())
    }
}

fn payload(
    batch: &Batch,
    key: (i64, i64),
    now_ms: i64,
    expected: Pos,
    floor: i64,
) -> Result<String> {
    use std::fmt::Write as _;
    let mut payload = format!(
        r#"{{"incarnation":{},"seq":{},"now_ms":{now_ms},"expected_head":{expected},"floor":{floor},"positions":{},"room_guards":{},"session_guards":{},"touched":{}"#,
        key.0,
        key.1,
        batch.positions,
        to_json(&batch.room_guards)?,
        to_json(&batch.session_guards)?,
        to_json(&batch.touched)?,
    );
    for (table, rows) in &batch.tables {
        // Writing to a string cannot fail.
        let _ = write!(payload, r#","{}":{rows}"#, table.name());
    }
    payload.push('}');
    Ok(payload)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::corrupt)
}

fn conflicts_in(error: &sqlx::Error) -> Option<Vec<Conflict>> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    (error.code() == "STOA1").then(|| serde_json::from_str(error.detail()?).ok()).flatten()
}

/// Whether the statement may or may not have been carried out: the connection was lost, or the
/// server is going down or coming up.
pub(super) fn is_outcome_unknown(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P") || code == "25P03"
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}
