//! Jumps: where the log goes on further above, so that no position is ever given out twice.
//!
//! A database can be restored to an earlier moment, and its log then ends below positions that
//! clients hold. Were they given out again, a client would take news for what it knows. So the log
//! jumps above them: where nodes have seen the lost positions, above those, and at each start of a
//! node to the present in microseconds. No log takes a million positions a second, so those that
//! were given out before lie in the past, and the present is above all of them.
//!
//! A jump is a batch that changes nothing. A position inside of one belongs to what was lost.
//!
//! A node that meets another run of the PostgreSQL server than before, as after a fail-over or a
//! restore, jumps to the present as well, before it writes anything there. Nobody therefore writes
//! over positions that were given out before, unless somebody takes rows away from a server that
//! runs. A node that finds even that notes the loss: every position up to the one that it has seen
//! may be of what was lost then, since nobody knows from where on they were given out again.

use stoa_base::Pos;

use super::{
    LOG_LOCK, head,
    mark::{BatchKey, Mark, NO_RUN},
    reader::head_mark,
};
use crate::{Backend, Conn, Result, Store};

/// The run under which losses are noted. Their number in it is the position up to which everything
/// may be of what was lost.
const LOSSES: i64 = -1;

/// How far a jump moves the counters where the present does not: further than a node can have been
/// ahead of what is left.
pub(super) const RAISE_BY: i64 = 1 << 32;

/// Has the log go on above all that was given out before this start of a node.
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
/// moment, and gives its new end. Positions and internal numbers that were given out in what was
/// lost are not given out again.
///
/// `known` are places that the log had up to then. Where none of them is its end now, the log has
/// grown again over what was lost, or may have, and the loss is noted.
pub async fn raise(store: &Store, seen: Pos, known: &[Mark]) -> Result<Mark> {
    let mut conn = store.write().await?;
    lock(&mut conn).await?;
    let mut found = head_mark(&mut conn).await?;
    if was_lost(&mut conn, seen).await? {
        // Another node was faster.
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

/// Whether `pos` was given out, or may have been, in what a restore has taken away: it lies inside
/// of a jump, or below a loss that was noted.
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
