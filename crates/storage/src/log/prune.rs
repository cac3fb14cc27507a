//! Pruning the log.
//!
//! Correctness never depends on the age at which a batch is deleted. A reader whose place was
//! pruned finds a gap and drops everything it has cached. The last batch of each run of a node
//! stays, so a node that was frozen for any length of time and does not know whether that batch was
//! written still finds it and does not write it again. Jumps and losses stay too, since clients may
//! hold tokens from before them.

use super::mark::NO_RUN;
use crate::{Conn, Result, Store, repo::leases::Fence};

/// How many batches are checked in one transaction.
const PAGE: i64 = 1_000;

/// Deletes the batches that were committed before `before_ms`, except those that must stay. Returns
/// how many were deleted. Stops if another node has taken the lease.
pub async fn prune(store: &Store, lease: &Fence, before_ms: i64) -> Result<u64> {
    let (mut deleted, mut from) = (0, 0);
    loop {
        let mut conn = store.write().await?;
        lease.check(&mut conn).await?;
        let page = Page::after(&mut conn, from).await?;
        deleted += page.prune(&mut conn, before_ms).await?;
        conn.commit().await?;
        if page.count < PAGE || page.newest_ms >= before_ms {
            return Ok(deleted);
        }
        from = page.to;
    }
}

/// A range of consecutive batches.
struct Page {
    from: i64,
    to: i64,
    newest_ms: i64,
    count: i64,
}

impl Page {
    async fn after(conn: &mut Conn, from: i64) -> Result<Self> {
        let (to, newest_ms, count) = conn
            .one(
                "SELECT COALESCE(MAX(last_pos), 0), COALESCE(MAX(committed_ms), 0), COUNT(*)
                 FROM (SELECT last_pos, committed_ms FROM log_batches WHERE last_pos > $1
                     ORDER BY last_pos LIMIT $2) AS page",
                &[from.into(), PAGE.into()],
            )
            .await?;
        Ok(Self { from, to, newest_ms, count })
    }

    async fn prune(&self, conn: &mut Conn, before_ms: i64) -> Result<u64> {
        let range = [self.from.into(), self.to.into(), before_ms.into(), NO_RUN.into()];
        conn.execute(PRUNE, &range).await
    }
}

const PRUNE: &str = "
DELETE FROM log_batches WHERE last_pos IN (
    SELECT last_pos FROM log_batches AS old
    WHERE last_pos > $1 AND last_pos <= $2 AND committed_ms < $3 AND incarnation > $4
        AND EXISTS (SELECT 1 FROM log_batches AS later
            WHERE later.incarnation = old.incarnation AND later.batch_seq > old.batch_seq))";
