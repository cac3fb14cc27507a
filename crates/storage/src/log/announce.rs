//! Tells other nodes that the log has grown. This is only a hint: a node that misses it looks at
//! the log about once a second anyway.

use std::time::Duration;

use sqlx::{Executor as _, postgres::PgListener};
use stoa_base::Pos;
use tokio::time::timeout;

use crate::{Backend, Conn, Error, Result, Store, postgres_host::Lender};

const CHANNEL: &str = "stoa_log";

/// After this long a silence, the listener checks that its connection still works.
const SILENCE: Duration = Duration::from_secs(10);
/// How long that check may take, and also listening for the first time.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);

/// Tells every node on PostgreSQL that the log has reached `head`. This happens outside the
/// append's transaction, since PostgreSQL commits transactions that notify one after another, and
/// without a flush, since a hint need not survive a crash.
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

/// Receives what other nodes, and this one, announce.
#[derive(Debug)]
pub struct Listener {
    listener: PgListener,
    lender: Lender,
}

impl Listener {
    /// Starts to listen, on a session of its own. `None` on SQLite, where there are no other nodes.
    pub async fn connect(store: &Store) -> Result<Option<Self>> {
        let Some(pool) = store.direct_pool() else { return Ok(None) };
        let lender = pool.lender();
        let listen = async {
            let mut listener = PgListener::connect_with(lender.pool()).await?;
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let listening = timeout(LISTEN_LIMIT, listen).await;
        let listener = listening.map_err(|_| Error::Timeout("listening"))??;
        Ok(Some(Self { listener, lender }))
    }

    /// The next head that is announced. `None` if announcements may have been lost, so that the log
    /// must be read.
    pub async fn next(&mut self) -> Result<Option<Pos>> {
        let Self { listener, lender } = self;
        loop {
            let heard = async { Ok::<_, Error>(timeout(SILENCE, listener.try_recv()).await) };
            if let Ok(announced) = Box::pin(lender.wait_for(heard)).await? {
                let Some(announced) = announced? else { return Ok(None) };
                let head = announced.payload().parse().map_err(Error::answer)?;
                return Ok(Some(Pos(head)));
            }
            // Either there is no news, or the connection was lost unnoticed.
            let question = timeout(LISTEN_LIMIT, listener.execute("SELECT 1"));
            question.await.map_err(|_| Error::Timeout("listening"))??;
        }
    }
}
