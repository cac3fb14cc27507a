//! The log: everything that a client or another server may have to be told about, in one total
//! order.
//! An [`Append`] is a value that the caller fills and hands to the node's one [`Writer`]. Appends
//! that wait together become one batch: one transaction, one flush. Positions are given out under
//! the log lock, so they become visible in order and without gaps.
//!
//! `log_batches` is pruned by age. A reader whose place was pruned drops everything it has cached.

mod announce;
mod append;
mod audit;
mod chain;
mod claim;
mod claims;
mod conflict;
mod group;
mod guard;
mod joined_appends;
mod jump;
mod logged_rows;
mod mark;
mod outcome;
mod postgres;
mod prune;
mod reader;
mod rel_pos;
mod rows;
mod sqlite;
mod stored;
mod table;
mod touched;
mod writer;
mod written;

pub use self::{
    announce::{Listener, announce},
    audit::{
        AuditAction, AuditCheck, AuditFault, AuditLink, AuditOutcome, AuditRow, audit_head,
        has_audit_link, verify_audit,
    },
    chain::Chain,
    guard::{AccountState, Guard},
    jump::{raise, rise_to_now, was_lost},
    logged_rows::{BatchRows, LoggedRows},
    mark::{BatchKey, Mark},
    outcome::{AppendError, Appended},
    prune::prune,
    reader::{LogReader, LoggedBatch, News, batches_after, head, head_mark},
    rel_pos::RelPos,
    table::*,
    touched::{Stream, Topic, Touched},
    writer::{BUILD_LIMIT, CommittedBatch, OnCommit, Pending, Writer, WriterOptions},
};
use crate::{Conn, Result};

/// The lock that orders the log on PostgreSQL; `append_batch` takes the same one.
const LOG_LOCK: &str = "SELECT pg_advisory_xact_lock(7310579619)";

/// Draws the number under which this run of a node writes its batches. It is larger than every
/// number drawn before, even if the database was restored to an earlier moment in between.
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
