//! Jumps: where the log goes on further above, so that no position is ever given out twice.
//!
//! A database can be restored to an earlier moment, and its log then ends below positions that
//! clients hold. Were they given out again, a client would take news for what it knows. So the log
//! jumps above them: where nodes have seen the lost positions, above those, and at each start of a
//! node to the present in microseconds. No log takes a million positions a second, so those that
//! were given out before lie in the past, and the present is above all of them.
//!
//! A jump is a batch that changes nothing. A position inside of one belongs to what was lost.

use stoa_base::Pos;

use super::{LOG_LOCK, head};
use crate::{Backend, Conn, Result, Store};

/// The run under which jumps are written: no run of a node has this number. Their number in it is
/// the position to which they go.
pub(super) const NO_RUN: i64 = 0;

/// How far [`raise`] moves the counters: further than a node can have been ahead of what is left.
const RAISE_BY: i64 = 1 << 32;

/// Has the log go on above all that was given out before this start of a node.
pub async fn rise_to_now(conn: &mut Conn) -> Result<()> {
    lock(conn).await?;
    let found = head(conn).await?;
    let now = Pos(conn.now_ms().await?.saturating_mul(1_000));
    if found < now { jump(conn, found, now).await } else { Ok(()) }
}

/// Continues the log above `seen`, a head that the log had before it was restored to an earlier
/// moment, and gives the new head. Positions and internal numbers that were given out in what was
/// lost are not given out again.
pub async fn raise(store: &Store, seen: Pos) -> Result<Pos> {
    let mut conn = store.write().await?;
    lock(&mut conn).await?;
    let found = head(&mut conn).await?;
    if found >= seen {
        // Another node was faster.
        return Ok(found);
    }
    let raised = Pos(seen.0 + RAISE_BY);
    jump(&mut conn, found, raised).await?;
    conn.execute("UPDATE counters SET value = value + $1 WHERE name = 'nid'", &[RAISE_BY.into()])
        .await?;
    conn.commit().await?;
    Ok(raised)
}

/// Whether `pos` was given out in what a restore has taken away: it lies inside of a jump.
pub async fn was_lost(conn: &mut Conn, pos: Pos) -> Result<bool> {
    let next: Option<(i64,)> = conn
        .optional(
            "SELECT prev_pos FROM log_batches WHERE incarnation = $1 AND batch_seq > $2
             ORDER BY batch_seq LIMIT 1",
            &[NO_RUN.into(), pos.0.into()],
        )
        .await?;
    Ok(next.is_some_and(|(from,)| from < pos.0))
}

async fn lock(conn: &mut Conn) -> Result<()> {
    if conn.backend() == Backend::Postgres {
        conn.execute(LOG_LOCK, &[]).await?;
    }
    Ok(())
}

async fn jump(conn: &mut Conn, from: Pos, to: Pos) -> Result<()> {
    let now_ms = conn.now_ms().await?;
    conn.execute(
        "INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
         VALUES ($1, $2, $3, $1, $4, '[]')",
        &[to.0.into(), from.0.into(), NO_RUN.into(), now_ms.into()],
    )
    .await?;
    Ok(())
}
