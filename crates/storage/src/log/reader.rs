//! Reading the log.

use std::time::Duration;

use stoa_base::Pos;

use super::{BatchKey, Touched};
use crate::{Conn, Error, Result, Store};

/// How long one look at the log may take.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(5);

/// A batch as a reader of the log finds it.
#[derive(Clone, Debug)]
pub struct LoggedBatch {
    /// The head before the batch.
    pub prev: Pos,
    /// The head after it.
    pub last: Pos,
    /// Under which key it was written.
    pub key: BatchKey,
    /// What it changed.
    pub touched: Touched,
}

/// What a reader that knows the log up to some position finds.
#[derive(Clone, Debug)]
pub enum News {
    /// The batches that follow, in order; none where the reader knows them all.
    Batches(Vec<LoggedBatch>),
    /// The log goes on further above: the batches between are pruned.
    Gap {
        /// The present head.
        head: Pos,
    },
    /// The log ends below what the reader knows: it was restored to an earlier moment.
    Lost {
        /// The present head.
        head: Pos,
    },
}

/// The largest position in the log, in the snapshot of `conn`.
pub async fn head(conn: &mut Conn) -> Result<Pos> {
    let (head,): (i64,) =
        conn.one("SELECT COALESCE(MAX(last_pos), 0) FROM log_batches", &[]).await?;
    Ok(Pos(head))
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
    rows.into_iter().map(read_batch).collect()
}

type BatchRow = (i64, i64, i64, i64, String);

fn read_batch((prev, last, incarnation, seq, touched): BatchRow) -> Result<LoggedBatch> {
    let touched = serde_json::from_str(&touched).map_err(Error::corrupt)?;
    Ok(LoggedBatch {
        prev: Pos(prev),
        last: Pos(last),
        key: BatchKey { incarnation, seq },
        touched,
    })
}

/// A reader of the log with a connection of its own, so that it never waits for one behind
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

    /// What follows `pos`, at most `limit` batches. One statement where nothing is out of order.
    pub async fn after(&mut self, pos: Pos, limit: i64) -> Result<News> {
        // Taken out, so that it is lost if the look fails or is given up half-way.
        let mut conn = self.conn.take();
        let store = &self.store;
        let look = async move {
            let mut conn = match conn.take() {
                Some(conn) => conn,
                None => store.dedicated().await?,
            };
            let news = news(&mut conn, pos, limit).await?;
            Ok::<_, Error>((conn, news))
        };
        let looked = tokio::time::timeout(READ_LIMIT, look).await;
        let (conn, news) = looked.map_err(|_| Error::Timeout("reading the log"))??;
        self.conn = Some(conn);
        Ok(news)
    }
}

async fn news(conn: &mut Conn, pos: Pos, limit: i64) -> Result<News> {
    // The batch that ends at `pos` or another above must be there, unless the log was restored to
    // an earlier moment: the newest batch is never pruned.
    let mut rows: Vec<BatchRow> = conn
        .all(
            "SELECT prev_pos, last_pos, incarnation, batch_seq,
                 CASE WHEN last_pos = $1 THEN '[]' ELSE touched END
             FROM log_batches WHERE last_pos >= $1 ORDER BY last_pos LIMIT $2",
            &[pos.0.into(), (limit + 1).into()],
        )
        .await?;
    if rows.is_empty() && pos != Pos::START {
        return Ok(News::Lost { head: head(conn).await? });
    }
    if rows.first().is_some_and(|row| row.1 == pos.0) {
        rows.remove(0);
    }
    // The last batches of runs that have ended stay when those around them are pruned.
    let ends = std::iter::once(pos.0).chain(rows.iter().map(|row| row.1));
    if rows.iter().zip(ends).any(|(row, end)| row.0 != end) {
        return Ok(News::Gap { head: head(conn).await? });
    }
    rows.into_iter().map(read_batch).collect::<Result<_>>().map(News::Batches)
}
