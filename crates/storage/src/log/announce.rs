//! Telling other nodes that there is news. A hint and no more: whoever misses it looks at the log
//! about once a second anyway.

use sqlx::postgres::PgListener;
use stoa_base::Pos;

use crate::{Backend, Conn, Error, Result, Store};

const CHANNEL: &str = "stoa_log";

/// Tells every node on PostgreSQL that the log has reached `head`. Outside of the append's
/// transaction, since PostgreSQL commits transactions that notify one after another; without a
/// flush, since a hint need not outlive a crash.
pub async fn announce(conn: &mut Conn, head: Pos) -> Result<()> {
    if conn.backend() == Backend::Sqlite {
        return Ok(());
    }
    let head = head.to_string();
    conn.execute(
        "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)",
        &[CHANNEL.into(), (&head).into()],
    )
    .await?;
    Ok(())
}

/// Hears what other nodes, and this one, announce.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Listens, on a session of its own; none where there are no other nodes.
    pub async fn connect(store: &Store) -> Result<Option<Self>> {
        let Some(pool) = store.direct_pool() else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Self(listener)))
    }

    /// The next head that is announced; none where announcements may have been lost, so that the
    /// log must be looked at.
    pub async fn next(&mut self) -> Result<Option<Pos>> {
        let Some(announced) = self.0.try_recv().await? else { return Ok(None) };
        announced.payload().parse().map(|head| Some(Pos(head))).map_err(Error::corrupt)
    }
}
