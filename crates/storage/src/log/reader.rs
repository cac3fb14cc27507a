//! Reading the log.

use std::time::Duration;

use stoa_base::Pos;

use super::{
    Touched,
    mark::{BatchKey, Mark, NO_RUN},
    touched,
};
use crate::{Conn, Error, Result, Store};

/// How long one read of the log may take.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(5);

/// A batch as a reader of the log finds it.
#[derive(Clone, Debug)]
pub struct LoggedBatch {
    /// The head before the batch.
    pub prev: Pos,
    /// The head after it.
    pub last: Pos,
    /// The key under which it was written.
    pub key: BatchKey,
    /// What it changed; `None` if this version cannot tell, so that anything may have changed.
    pub touched: Option<Touched>,
}

impl LoggedBatch {
    /// The place where it ends.
    pub fn mark(&self) -> Mark {
        Mark { pos: self.last, key: Some(self.key) }
    }

    /// Whether it is not a node's batch, but a jump over positions that may have been lost.
    pub fn is_jump(&self) -> bool {
        self.key.incarnation <= NO_RUN
    }
}

/// The answer to a reader that knows the log up to some position.
#[derive(Clone, Debug)]
pub enum News {
    /// The batches that follow, in order; empty if the reader is up to date.
    Batches(Vec<LoggedBatch>),
    /// The log continues further up, and the batches in between were pruned.
    Gap {
        /// The current head.
        head: Mark,
    },
    /// The log does not contain what the reader knows: it was restored to an earlier moment, and
    /// may have grown again from there.
    Lost {
        /// The current head.
        head: Pos,
    },
}

/// The largest position in the log, in the snapshot of `conn`.
pub async fn head(conn: &mut Conn) -> Result<Pos> {
    let (head,): (i64,) =
        conn.one("SELECT COALESCE(MAX(last_pos), 0) FROM log_batches", &[]).await?;
    Ok(Pos(head))
}

/// The end of the log, in the snapshot of `conn`.
pub async fn head_mark(conn: &mut Conn) -> Result<Mark> {
    let newest: Option<(i64, i64, i64)> = conn
        .optional(
            "SELECT last_pos, incarnation, batch_seq FROM log_batches
             ORDER BY last_pos DESC LIMIT 1",
            &[],
        )
        .await?;
    Ok(newest.map_or(Mark::START, |(pos, incarnation, seq)| Mark {
        pos: Pos(pos),
        key: Some(BatchKey { incarnation, seq }),
    }))
}

/// Up to `limit` batches after `pos`, in order.
pub async fn batches_after(conn: &mut Conn, pos: Pos, limit: i64) -> Result<Vec<LoggedBatch>> {
    let rows: Vec<BatchRow> = conn
        .all(
            "SELECT prev_pos, last_pos, incarnation, batch_seq, touched FROM log_batches
             WHERE last_pos > $1 ORDER BY last_pos LIMIT $2",
            &[pos.0.into(), limit.into()],
        )
        .await?;
    Ok(rows.into_iter().map(read_batch).collect())
}

type BatchRow = (i64, i64, i64, i64, String);

fn read_batch((prev, last, incarnation, seq, touched): BatchRow) -> LoggedBatch {
    LoggedBatch {
        prev: Pos(prev),
        last: Pos(last),
        key: BatchKey { incarnation, seq },
        touched: touched::read(&touched),
    }
}

/// A reader of the log with a connection of its own, so that it never waits for a connection behind
/// requests, which may be waiting for it.
#[derive(Debug)]
pub struct LogReader {
    pub(super) store: Store,
    pub(super) conn: Option<Conn>,
}

impl LogReader {
    /// A reader of the log of `store`.
    pub fn new(store: Store) -> Self {
        Self { store, conn: None }
    }

    /// What follows `mark`, at most `limit` batches. Takes one statement unless something is out of
    /// order.
    pub async fn after(&mut self, mark: Mark, limit: i64) -> Result<News> {
        // Taken, so that it is dropped if reading fails or is cancelled halfway.
        let kept = self.conn.take();
        let store = &self.store;
        let look = async move {
            // The connection may have been lost long ago, unnoticed.
            if let Some(mut conn) = kept
                && let Ok(news) = news(&mut conn, mark, limit).await
            {
                return Ok((conn, news));
            }
            let mut conn = store.dedicated().await?;
            let news = news(&mut conn, mark, limit).await?;
            Ok::<_, Error>((conn, news))
        };
        let looked = tokio::time::timeout(READ_LIMIT, look).await;
        let (conn, news) = looked.map_err(|_| Error::Timeout("reading the log"))??;
        self.conn = Some(conn);
        Ok(news)
    }
}

async fn news(conn: &mut Conn, mark: Mark, limit: i64) -> Result<News> {
    let pos = mark.pos;
    // The batch that ends at `pos`, or a later one, must exist unless the log was restored to an
    // earlier moment, because the newest batch is never pruned.
    let mut rows: Vec<BatchRow> = conn
        .all(
            "SELECT prev_pos, last_pos, incarnation, batch_seq,
                 CASE WHEN last_pos = $1 THEN '[]' ELSE touched END
             FROM log_batches WHERE last_pos >= $1 ORDER BY last_pos LIMIT $2",
            &[pos.0.into(), (limit + 1).into()],
        )
        .await?;
    let found = rows.first().filter(|row| row.1 == pos.0);
    let found = found.map(|row| BatchKey { incarnation: row.2, seq: row.3 });
    let is_there = match (found, mark.key) {
        (Some(found), Some(key)) => found == key,
        (Some(_), None) => true,
        (None, Some(key)) => !rows.is_empty() && was_pruned(conn, pos, key).await?,
        (None, None) => !rows.is_empty() || pos == Pos::START,
    };
    if !is_there {
        return Ok(News::Lost { head: head(conn).await? });
    }
    if found.is_some() {
        rows.remove(0);
    }
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    // The last batches of runs that have ended stay when those around them are pruned.
    let ends = std::iter::once(pos.0).chain(rows.iter().map(|row| row.1));
    if rows.iter().zip(ends).any(|(row, end)| row.0 != end) {
        return Ok(News::Gap { head: head_mark(conn).await? });
    }
    Ok(News::Batches(rows.into_iter().map(read_batch).collect()))
}

/// Whether a missing batch was pruned rather than lost. The last batch of a run stays, and batches
/// that belong to no run all stay. On PostgreSQL `log_has_lost` implements the same rule.
async fn was_pruned(conn: &mut Conn, pos: Pos, key: BatchKey) -> Result<bool> {
    let (later,): (i64,) = conn
        .one(
            "SELECT COUNT(*) FROM (SELECT 1 AS later FROM log_batches
                 WHERE incarnation = $1 AND batch_seq > $2 AND last_pos > $3 LIMIT 1) AS found",
            &[key.incarnation.into(), key.seq.into(), pos.0.into()],
        )
        .await?;
    Ok(key.incarnation > NO_RUN && later > 0)
}
