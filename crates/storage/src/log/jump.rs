//! Jumps: gaps in the log's positions, made so that no position is ever given out twice.
//!
//! A database can be restored to an earlier moment, and its log then ends below positions that
//! clients hold. If those positions were given out again, a client would miss the news at them. So
//! the log jumps above them: if nodes have seen the lost positions, above those, and at each start
//! of a node to the present in microseconds. No log takes a million positions a second, so all
//! positions that were given out before lie in the past, and the present is above them.
//!
//! A jump is a batch that changes nothing. A position inside a jump belongs to the lost part of the
//! log.
//!
//! When a node meets another run of the PostgreSQL server than before, as after a fail-over or a
//! restore, it also jumps to the present before it writes anything there. So nobody writes over
//! positions that were given out before, unless somebody removes rows from a running server. If a
//! node finds even that, it notes the loss: every position up to the one it has seen may belong to
//! the lost part, since it is unknown where the log began to give them out again.

use stoa_base::Pos;

use super::{
    LOG_LOCK, head,
    mark::{BatchKey, Mark, NO_RUN},
    reader::head_mark,
};
use crate::{Backend, Conn, Result, Store};

/// The run number under which losses are noted. The batch number of a loss is the highest position
/// that may belong to the lost part.
const LOSSES: i64 = -1;

/// How far a jump moves the counters if the present is not far enough: further than a node can have
/// been ahead of the restored log.
pub(super) const RAISE_BY: i64 = 1 << 32;

/// Moves the log above everything that was given out before this start of a node.
pub async fn rise_to_now(conn: &mut Conn) -> Result<()> {
    lock(conn).await?;
    let found = head(conn).await?;
    let now = Pos(conn.now_ms().await?.saturating_mul(1_000));
    if found < now {
        insert(conn, found, now, NO_RUN, now.0).await?;
    }
    Ok(())
}

/// Continues the log above `seen`, a position that it had before it was restored to an earlier
/// moment, and returns the new end. Positions and internal numbers from the lost part are not given
/// out again.
///
/// `known` are places that the log had up to then. If none of them is its end now, the log has
/// grown again over the lost part, or may have, and the loss is noted.
pub async fn raise(store: &Store, seen: Pos, known: &[Mark]) -> Result<Mark> {
    let mut conn = store.write().await?;
    lock(&mut conn).await?;
    let mut found = head_mark(&mut conn).await?;
    if was_lost(&mut conn, seen).await? {
        // Another node has done it already.
        return Ok(found);
    }
    if found != Mark::START && !known.contains(&found) {
        let noted = Pos(found.pos.0 + 1);
        found = insert(&mut conn, found.pos, noted, LOSSES, seen.0).await?;
    }
    let raised = Pos(found.pos.0.max(seen.0) + RAISE_BY);
    let raised = insert(&mut conn, found.pos, raised, NO_RUN, raised.0).await?;
    conn.execute("UPDATE counters SET value = value + $1 WHERE name = 'nid'", &[RAISE_BY.into()])
        .await?;
    conn.commit().await?;
    Ok(raised)
}

/// Whether `pos` was given out, or may have been, in a part of the log that a restore has taken
/// away: it lies inside a jump, or not above a noted loss.
pub async fn was_lost(conn: &mut Conn, pos: Pos) -> Result<bool> {
    let (count,): (i64,) = conn
        .one(
            "SELECT (SELECT COUNT(*) FROM log_batches WHERE incarnation = $1 AND batch_seq > $3
                    AND prev_pos < $3)
                + (SELECT COUNT(*) FROM log_batches WHERE incarnation = $2 AND batch_seq >= $3)",
            &[NO_RUN.into(), LOSSES.into(), pos.0.into()],
        )
        .await?;
    Ok(count > 0)
}

async fn lock(conn: &mut Conn) -> Result<()> {
    if conn.backend() == Backend::Postgres {
        conn.execute(LOG_LOCK, &[]).await?;
    }
    Ok(())
}

/// Appends a batch that changes nothing.
async fn insert(conn: &mut Conn, from: Pos, to: Pos, incarnation: i64, seq: i64) -> Result<Mark> {
    let now_ms = conn.now_ms().await?;
    conn.execute(
        "INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
         VALUES ($1, $2, $3, $4, $5, '[]')",
        &[to.0.into(), from.0.into(), incarnation.into(), seq.into(), now_ms.into()],
    )
    .await?;
    Ok(Mark { pos: to, key: Some(BatchKey { incarnation, seq }) })
}
