//! The log: everything that a client or another server may have to be told about, in one total
//! order.
//!
//! An [`Append`] is a value that the caller fills and hands to the node's one [`Writer`]. Appends
//! that wait together become one batch: one transaction, one flush. Positions are given out under
//! the log lock, so they become visible in order and without gaps.
//!
//! `log_batches` is pruned by age. A reader below the oldest batch drops all that it has cached.

mod announce;
mod append;
mod batch;
mod chain;
mod members;
mod postgres;
mod reader;
mod rows;
mod sqlite;
mod touched;
mod writer;

pub use self::{
    announce::{Listener, announce},
    append::{Append, Guard},
    chain::Chain,
    reader::{LogReader, LoggedBatch, News, batches_after, head},
    rows::*,
    touched::{Stream, Topic, Touched},
    writer::{
        AppendError, Appended, BatchKey, CommittedBatch, OnCommit, Pending, Writer, WriterOptions,
    },
};
use crate::{Backend, Conn, Result, Store};

/// The lock that orders the log on PostgreSQL; `append_batch` takes the same.
const LOG_LOCK: &str = "SELECT pg_advisory_xact_lock(7310579619)";

/// How far [`raise`] moves the counters: further than a node can have been ahead of what is left.
const RAISE_BY: i64 = 1 << 32;

/// Draws the number under which this run of a node writes its batches. It is larger than all that
/// were drawn before, also where the database was restored to an earlier moment in between.
pub async fn new_incarnation(conn: &mut Conn) -> Result<i64> {
    let now_ms = conn.now_ms().await?;
    let (incarnation,) = conn
        .one(
            "UPDATE counters SET value = CASE WHEN value < $1 THEN $1 ELSE value + 1 END
             WHERE name = 'incarnation' RETURNING value",
            &[now_ms.into()],
        )
        .await?;
    Ok(incarnation)
}

/// Deletes batches that were committed before `before_ms`, but for the newest, at most `limit`.
/// Says how many were deleted.
pub async fn prune(conn: &mut Conn, before_ms: i64, limit: i64) -> Result<u64> {
    conn.execute(
        "DELETE FROM log_batches WHERE last_pos IN (
             SELECT last_pos FROM log_batches
             WHERE committed_ms < $1 AND last_pos < (SELECT MAX(last_pos) FROM log_batches)
             ORDER BY last_pos LIMIT $2)",
        &[before_ms.into(), limit.into()],
    )
    .await
}

/// Continues the log above `seen`, a head that the log had before it was restored to an earlier
/// moment, and gives the new head. Positions and internal numbers that were given out in what was
/// lost are not given out again.
pub async fn raise(store: &Store, seen: stoa_base::Pos) -> Result<stoa_base::Pos> {
    let mut conn = store.write().await?;
    if conn.backend() == Backend::Postgres {
        conn.execute(LOG_LOCK, &[]).await?;
    }
    let found = head(&mut conn).await?;
    if found >= seen {
        // Another node was faster.
        return Ok(found);
    }
    let raised = seen.0 + RAISE_BY;
    let now_ms = conn.now_ms().await?;
    // No run of a node has number zero.
    conn.execute(
        "INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
         VALUES ($1, $2, 0, $1, $3, '[]')",
        &[raised.into(), found.0.into(), now_ms.into()],
    )
    .await?;
    conn.execute("UPDATE counters SET value = value + $1 WHERE name = 'nid'", &[RAISE_BY.into()])
        .await?;
    conn.commit().await?;
    Ok(stoa_base::Pos(raised))
}
