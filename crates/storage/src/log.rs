//! The log: everything that a client or another server may have to be told about, in one total
//! order.
//!
//! An [`Append`] is a value that the caller fills and hands to the node's one [`Writer`]. Appends
//! that wait together become one batch: one transaction, one flush. Positions are given out under
//! the log lock, so they become visible in order and without gaps.
//!
//! `log_batches` is pruned by age. A reader below the oldest batch drops all that it has cached.

mod append;
mod batch;
mod chain;
mod postgres;
mod rows;
mod sqlite;
mod touched;
mod writer;

pub use self::{
    append::{Append, Guard},
    chain::Chain,
    rows::*,
    touched::{Stream, Topic, Touched},
    writer::{AppendError, Appended, CommittedBatch, OnCommit, Writer, WriterOptions},
};
use crate::{Conn, Result};

/// The largest position in the log, in the snapshot of `conn`.
pub async fn head(conn: &mut Conn) -> Result<stoa_base::Pos> {
    let (head,): (Option<i64>,) = conn.one("SELECT MAX(last_pos) FROM log_batches", &[]).await?;
    Ok(stoa_base::Pos(head.unwrap_or(0)))
}

/// A batch as a reader of the log finds it.
#[derive(Clone, Debug)]
pub struct LoggedBatch {
    /// The head before the batch.
    pub prev: stoa_base::Pos,
    /// The head after it.
    pub last: stoa_base::Pos,
    /// Which node's run wrote it.
    pub incarnation: i64,
    /// What it changed.
    pub touched: Touched,
}

/// Up to `limit` batches after `pos`, in order.
pub async fn batches_after(
    conn: &mut Conn,
    pos: stoa_base::Pos,
    limit: i64,
) -> Result<Vec<LoggedBatch>> {
    let rows: Vec<(i64, i64, i64, String)> = conn
        .all(
            "SELECT prev_pos, last_pos, incarnation, touched FROM log_batches
             WHERE last_pos > $1 ORDER BY last_pos LIMIT $2",
            &[pos.0.into(), limit.into()],
        )
        .await?;
    rows.into_iter()
        .map(|(prev, last, incarnation, touched)| {
            let touched = serde_json::from_str(&touched).map_err(crate::Error::corrupt)?;
            Ok(LoggedBatch {
                prev: stoa_base::Pos(prev),
                last: stoa_base::Pos(last),
                incarnation,
                touched,
            })
        })
        .collect()
}

/// Draws the number under which this run of a node writes its batches.
pub async fn new_incarnation(conn: &mut Conn) -> Result<i64> {
    let (incarnation,) = conn
        .one(
            "UPDATE counters SET value = value + 1 WHERE name = 'incarnation' RETURNING value",
            &[],
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
