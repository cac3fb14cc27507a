//! Writing a batch to PostgreSQL: one call of `append_batch` on a connection of the writer's own.
//!
//! The call itself states the isolation and durability that it relies on, and refuses to run
//! without them; see `migrations/postgres/0002_firm_ground.sql`. A connection begins with a
//! synchronous commit, so a batch that is found, or a row that conflicts with one, is as durable as
//! a batch that is written ([`crate::server`]). If the connection leads to another run of the
//! server than before, batches may have been lost, and that commit is a jump of the log.

use std::{future::Future, pin::pin, time::Duration};

use serde::Deserialize;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _,
};
use stoa_base::{Clock, Pos};

use super::{
    LOG_LOCK,
    conflict::Conflict,
    joined_appends::JoinedAppends,
    jump::RAISE_BY,
    mark::{BatchKey, Mark, NO_RUN},
    written::{Timing, Written},
};
use crate::{
    Error, Result, Store,
    postgres_host::Lender,
    server::{BEGIN_WRITE, ServerRun},
    statements,
};

const APPEND: &str = "SELECT append_batch($1::text::jsonb)::text";

/// What the server does by itself if this node freezes or is cut off. Anything that could keep the
/// log lock from others is over within a second.
const SESSION: [(&str, &str); 13] = [
    ("idle_in_transaction_session_timeout", "750ms"),
    ("tcp_user_timeout", "900ms"),
    // If the end of a call is lost because the host vanished, the server waits for it without any
    // limit and has nothing to send. Only a keepalive detects that.
    ("tcp_keepalives_idle", "1"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("client_connection_check_interval", "500ms"),
    // Waiting for the lock is normal. It takes long only if the server is overloaded.
    ("lock_timeout", "10s"),
    ("statement_timeout", "12s"),
    // Every statement of `append_batch` looks rows up by key. Its plans are made once, perhaps
    // while a table is empty, and must still be right when it is large.
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

/// Continues the log at the present, or further up if the log is already beyond it.
const JUMP: &str = "
INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
SELECT target, head, $1, target, now_us / 1000, '[]'
FROM (
    SELECT head, now_us, CASE WHEN head < now_us THEN now_us ELSE head + $2 END AS target
    FROM (
        SELECT coalesce(max(last_pos), 0) AS head,
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
        FROM log_batches
    ) AS log
) AS jump";

/// Skips internal numbers that may have been drawn in a lost part.
const RAISE_NIDS: &str = "UPDATE counters SET value = value + $1 WHERE name = 'nid'";

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a call may take before its outcome counts as unknown: longer than the server's own
/// limits, so that the server's error comes first if it can.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// How long a call may take before the writer looks for sessions in its way, and how often it looks
/// again.
const OBSTRUCTION_LIMIT: Duration = Duration::from_millis(1_500);
/// How long that search may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Ends sessions that block others while they are waiting for their own node. A live node never
/// lets a transaction wait that long. No time-out of PostgreSQL covers a node that froze within a
/// call while its host's network still answers.
const END_ABSENT: &str = "
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity AS absent
WHERE datname = current_database() AND usename = current_user
    AND application_name IN ('stoa', 'stoa-log')
    AND xact_start IS NOT NULL AND wait_event_type = 'Client'
    AND state_change < clock_timestamp() - interval '1500 ms'
    AND EXISTS (
        SELECT FROM pg_stat_activity AS waiting
        WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
            AND absent.pid = ANY (pg_blocking_pids(waiting.pid)))";

/// The writer's connection, reopened whenever it was lost.
#[derive(Debug, Default)]
pub(super) struct Session {
    conn: Option<Lent>,
    /// Whether a transaction of this connection holds the log lock.
    locked: bool,
    /// The run of the server that was last written to; `None` before the first connection.
    run: Option<ServerRun>,
}

/// One of the writer's connections, and what limits the wait for its answers.
#[derive(Debug)]
struct Lent {
    conn: PgConnection,
    lender: Lender,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Conflicts { conflicts: Vec<Conflict> },
    Committed { prev: i64, last: i64, moved: Option<Vec<usize>>, lock_wait_us: u64 },
    Behind { behind: i64 },
}

impl Session {
    /// Writes the batch under its key, at most once however often this is called. If appends must
    /// not be written, it returns them and writes nothing. After an error the connection is
    /// reopened.
    pub(super) async fn write(
        &mut self,
        store: &Store,
        batch: &JoinedAppends,
        key: BatchKey,
        clock: &Clock,
        seen: Mark,
        timing: &mut Timing,
    ) -> Result<Written> {
        let payload = payload(batch, key, clock.now_ms(), seen)?;
        let locked = std::mem::take(&mut self.locked);
        // Taken, so that the connection is dropped unless this completes.
        let mut lent = match self.conn.take() {
            Some(lent) => lent,
            None => self.connect(store).await?,
        };
        let Lent { conn, lender } = &mut lent;
        let count = store.appends();
        let call = async {
            count.add();
            let row = sqlx::query(APPEND).bind(&payload).fetch_one(&mut *conn).await?;
            if locked {
                conn.execute("COMMIT").await?;
                count.add();
            }
            row.try_get::<String, _>(0)
        };
        let call = clearing_the_way(store, lender.wait_for(call));
        let call = Box::pin(async {
            let called = tokio::time::timeout(CALL_LIMIT, call).await;
            called.unwrap_or(Err(Error::Timeout("appending to the log")))
        });
        let answer = match statements::follow(APPEND, call, |_| None).await {
            Ok(answer) => answer,
            Err(error) => {
                if error.is_refusal() && !locked {
                    self.conn = Some(lent);
                }
                return Err(error);
            }
        };
        self.conn = Some(lent);
        Ok(match serde_json::from_str(&answer).map_err(Error::answer)? {
            Answer::Conflicts { conflicts } => Written::Conflicts(conflicts),
            Answer::Committed { prev, last, moved, lock_wait_us } => {
                timing.lock_wait = Duration::from_micros(lock_wait_us);
                let moved = moved.unwrap_or_default();
                Written::Committed { prev: Pos(prev), last: Pos(last), moved }
            }
            Answer::Behind { behind } => Written::Behind { head: Pos(behind) },
        })
    }

    /// Takes the log lock and keeps it across round trips, until the next [`Session::write`] or
    /// [`Session::unlock`]. If this node freezes, the server ends the transaction within a second.
    pub(super) async fn lock(&mut self, store: &Store) -> Result<()> {
        if let Some(mut lent) = self.conn.take()
            && begin_locked(&mut lent, store).await.is_ok()
        {
            self.conn = Some(lent);
        } else {
            // The connection may have been lost long ago, unnoticed.
            let mut lent = self.connect(store).await?;
            begin_locked(&mut lent, store).await?;
            self.conn = Some(lent);
        }
        self.locked = true;
        Ok(())
    }

    /// Releases the log lock if nothing was written under it.
    pub(super) async fn unlock(&mut self) {
        if std::mem::take(&mut self.locked)
            && let Some(mut lent) = self.conn.take()
        {
            let Lent { conn, lender } = &mut lent;
            match lender.wait_for(conn.execute("ROLLBACK")).await {
                Ok(_) => self.conn = Some(lent),
                Err(error) => tracing::warn!(%error, "the log lock was lost"),
            }
        }
    }

    /// Opens a connection. Everything that can be seen on it is durable.
    async fn connect(&mut self, store: &Store) -> Result<Lent> {
        let direct = store.direct_pool().zip(store.server_runs());
        let (pool, runs) = direct.ok_or_else(|| Error::fault("not PostgreSQL"))?;
        let known = self.run.as_ref().unwrap_or_else(|| runs.first());
        let lender = pool.lender();
        let options = pool.options().clone().options(SESSION).application_name("stoa-log");
        let connect = async {
            let mut conn = options.connect().await?;
            let run = runs.begin_session(&mut conn).await?;
            if run != *known {
                jump(&mut conn).await?;
            }
            // Prepared now, so that a later call is one write and one reply.
            conn.prepare(APPEND.into_sql_str()).await?;
            conn.ping().await?;
            Ok::<_, sqlx::Error>((conn, run))
        };
        let connected = tokio::time::timeout(CONNECT_LIMIT, connect).await;
        let (conn, run) = connected.map_err(|_| Error::Timeout("connecting"))??;
        self.run = Some(run);
        Ok(Lent { conn, lender })
    }
}

/// Runs a call. While it takes long, ends the sessions of frozen or vanished nodes in its way.
async fn clearing_the_way<T>(store: &Store, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        if let Ok(answer) = tokio::time::timeout(OBSTRUCTION_LIMIT, &mut call).await {
            return answer;
        }
        let look = tokio::time::timeout(LOOK_LIMIT, end_absent(store));
        tokio::select! {
            answer = &mut call => return answer,
            looked = look => match looked.unwrap_or(Err(Error::Timeout("blocking sessions"))) {
                Ok(0) => {}
                Ok(ended) => {
                    tracing::warn!(
                        ended,
                        "connections of nodes that froze or vanished kept an append waiting, and \
                         were ended"
                    );
                    metrics::counter!("stoa_log_absent_ended_total").increment(ended);
                }
                Err(error) => {
                    tracing::warn!(%error, "an append is slow, and looking for the cause failed");
                }
            },
        }
    }
}

async fn end_absent(store: &Store) -> Result<u64> {
    let (ended,): (i64,) = store.dedicated().await?.one(END_ABSENT, &[]).await?;
    Ok(ended.unsigned_abs())
}

async fn begin_locked(lent: &mut Lent, store: &Store) -> Result<()> {
    let Lent { conn, lender } = lent;
    let count = store.appends();
    let lock = async {
        conn.execute(BEGIN_WRITE).await?;
        count.add();
        conn.execute(LOG_LOCK).await?;
        count.add();
        Ok::<_, sqlx::Error>(())
    };
    let lock = clearing_the_way(store, lender.wait_for(lock));
    let lock = Box::pin(async {
        let locked = tokio::time::timeout(CALL_LIMIT, lock).await;
        locked.unwrap_or(Err(Error::Timeout("the log lock")))
    });
    statements::follow(LOG_LOCK, lock, |()| None).await
}

/// Moves the log above everything that a previous run of the server gave out. The insert is a
/// statement of its own after the lock, so it sees everything committed before.
async fn jump(conn: &mut PgConnection) -> sqlx::Result<()> {
    let mut transaction = conn.begin_with(BEGIN_WRITE).await?;
    transaction.execute(LOG_LOCK).await?;
    sqlx::query(JUMP).bind(NO_RUN).bind(RAISE_BY).execute(&mut *transaction).await?;
    sqlx::query(RAISE_NIDS).bind(RAISE_BY).execute(&mut *transaction).await?;
    transaction.commit().await
}

fn payload(batch: &JoinedAppends, key: BatchKey, now_ms: i64, seen: Mark) -> Result<String> {
    use std::fmt::Write as _;
    let BatchKey { incarnation, seq } = key;
    let (pos, positions) = (seen.pos, batch.positions);
    let touched = to_json(&batch.touched)?;
    let mut payload = format!(
        r#"{{"incarnation":{incarnation},"seq":{seq},"now_ms":{now_ms},"seen":{pos},"positions":{positions},"touched":{touched}"#
    );
    if let Some(BatchKey { incarnation, seq }) = seen.key {
        // Writing to a string cannot fail.
        let _ = write!(payload, r#","seen_key":[{incarnation},{seq}]"#);
    }
    if !batch.audit.is_empty() {
        let _ = write!(payload, r#","audit":{}"#, to_json(&batch.audit)?);
    }
    for rows in batch.guards.iter().chain(&batch.tables) {
        let _ = write!(payload, r#","{}":{}"#, rows.name, rows.json);
    }
    payload.push('}');
    Ok(payload)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::fault)
}
