//! Notices when the host that PostgreSQL runs on falls silent, and replaces its connections.
//!
//! A host that loses its power or its network breaks no connection: clients wait until TCP gives
//! up, for a quarter of an hour, and `sqlx` has no keepalives to set. So each host is asked every
//! second, on a connection of its own. If neither that connection nor a new one brings an answer,
//! the host counts as silent: every statement waiting for it fails at once, and its pools are
//! replaced by new ones. No old connection is used again, and whatever still waits on one blocks
//! nobody.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Executor as _, PgConnection, PgPool, Postgres, SqlSafeStr as _,
    Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{Error, Result};

/// How often a host is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a host may take to answer a trivial query, and then again to accept a new connection.
const ANSWER_LIMIT: Duration = Duration::from_millis(2_500);

/// How long a statement may take: longer than the server's own limit, so that the server's error
/// comes first if it can. If only the statement's own connection is cut off, nothing else ends it.
const STATEMENT_LIMIT: Duration = Duration::from_secs(65);

/// How long closing the connections of an abandoned pool may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A pool of connections to PostgreSQL that is replaced when its host was silent. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool_options: PgPoolOptions,
    options: PgConnectOptions,
    current: Mutex<Current>,
}

/// The current pool.
#[derive(Clone, Debug)]
struct Current {
    pool: PgPool,
    /// How often the pool was replaced.
    number: u64,
    /// Cancelled when the host has fallen silent.
    silence: CancellationToken,
}

impl Pool {
    /// A pool that connects when it is first used.
    pub(crate) fn new(pool_options: PgPoolOptions, options: PgConnectOptions) -> Self {
        let pool = pool_options.clone().connect_lazy_with(options.clone());
        let current = Mutex::new(Current { pool, number: 0, silence: CancellationToken::new() });
        Self(Arc::new(Shared { pool_options, options, current }))
    }

    /// A connection from the current pool.
    pub(crate) async fn acquire(&self) -> Result<(PoolConnection<Postgres>, Lender)> {
        loop {
            let lender = self.lender();
            match Box::pin(lender.current.pool.acquire()).await {
                Err(sqlx::Error::PoolClosed) if lender.is_old() => {}
                acquired => return Ok((acquired?, lender)),
            }
        }
    }

    /// A transaction that begins with this statement.
    ///
    /// It is begun to the end even if the caller is cancelled meanwhile. `sqlx` knows of a
    /// transaction only once it has begun; otherwise the next user of the connection would read
    /// inside it, at a snapshot that is long past.
    pub(crate) async fn begin_with(
        &self,
        begin: &'static str,
    ) -> Result<(Transaction<'static, Postgres>, Lender)> {
        let (conn, lender) = self.acquire().await?;
        let beginning = tokio::spawn(Transaction::begin(conn, Some(begin.into_sql_str())));
        let begun = async { beginning.await.unwrap_or(Err(sqlx::Error::WorkerCrashed)) };
        Ok((lender.wait_for(begun).await?, lender))
    }

    /// What a connection that is made now is handed out with: it belongs to the current pool.
    pub(crate) fn lender(&self) -> Lender {
        Lender { pool: self.clone(), current: self.lock().clone() }
    }

    /// The options it connects with.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.0.options
    }

    /// The number of open connections, and how many of them are idle.
    pub(crate) fn size(&self) -> (u32, usize) {
        let pool = &self.lock().pool;
        (pool.size(), pool.num_idle())
    }

    /// Closes every connection once its current statement is done.
    pub(crate) async fn close(&self) {
        let pool = self.lock().pool.clone();
        pool.close().await;
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails every statement that is waiting for an answer, and replaces the pool.
    fn fall_silent(&self) {
        std::mem::take(&mut self.lock().silence).cancel();
        self.begin_anew(None);
    }

    /// Replaces the pool; if a number is given, only if the current pool has that number.
    fn begin_anew(&self, after: Option<u64>) {
        let old = {
            let mut current = self.lock();
            if current.pool.is_closed() || after.is_some_and(|number| number != current.number) {
                return;
            }
            current.number += 1;
            let Shared { pool_options, options, .. } = &*self.0;
            let new = pool_options.clone().connect_lazy_with(options.clone());
            std::mem::replace(&mut current.pool, new)
        };
        // From now on nobody gets a connection of the old pool. Connections it has lent out are not
        // waited for.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CLOSE_LIMIT, old.close()).await;
        });
    }
}

/// The pool that a connection came from.
#[derive(Clone, Debug)]
pub(crate) struct Lender {
    pool: Pool,
    current: Current,
}

impl Lender {
    /// Waits for an answer on the connection for as long as one can still come.
    pub(crate) async fn wait_for<T, E>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T>
    where
        Error: From<E>,
    {
        let Current { number, silence, .. } = &self.current;
        let answer = silence.run_until_cancelled(answer);
        match tokio::time::timeout(STATEMENT_LIMIT, answer).await {
            Ok(Some(answer)) => Ok(answer?),
            Ok(None) => Err(Error::Timeout("its host is silent")),
            Err(_) => {
                // Otherwise the pool would wait for this connection before lending it to somebody
                // else.
                self.pool.begin_anew(Some(*number));
                Err(Error::Timeout("a statement"))
            }
        }
    }

    /// The pool itself.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.current.pool
    }

    fn is_old(&self) -> bool {
        self.pool.lock().number != self.current.number
    }
}

/// A host that is checked regularly until this is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    is_answering: Arc<AtomicBool>,
    asking: Arc<AbortOnDropHandle<()>>,
}

impl Host {
    /// Watches the host of these pools, which all connect in the same way.
    pub(crate) fn watch(pools: Vec<Pool>) -> Self {
        let is_answering = Arc::new(AtomicBool::new(true));
        let asking = tokio::spawn(ask_again_and_again(pools, Arc::clone(&is_answering)));
        Self { is_answering, asking: Arc::new(AbortOnDropHandle::new(asking)) }
    }

    /// Whether the host answered the last check.
    pub(crate) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Relaxed)
    }

    /// Stops checking.
    pub(crate) fn unwatch(&self) {
        self.asking.abort();
    }
}

async fn ask_again_and_again(pools: Vec<Pool>, is_answering: Arc<AtomicBool>) {
    let Some(options) = pools.first().map(|pool| pool.options().clone()) else { return };
    let mut conn = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let answers = ask(&mut conn, &options).await;
        let answered = is_answering.swap(answers, Ordering::Relaxed);
        metrics::gauge!("stoa_database_answering").set(if answers { 1.0 } else { 0.0 });
        match (answered, answers) {
            (true, false) => {
                tracing::error!("the database does not answer; its connections are given up");
                pools.iter().for_each(Pool::fall_silent);
            }
            (false, true) => tracing::info!("the database answers again"),
            _ => {}
        }
    }
}

/// Whether the host answers, on the existing connection or on a new one.
async fn ask(conn: &mut Option<PgConnection>, options: &PgConnectOptions) -> bool {
    if let Some(mut known) = conn.take() {
        let answer = tokio::time::timeout(ANSWER_LIMIT, known.execute("SELECT 1")).await;
        if matches!(answer, Ok(Ok(_))) {
            *conn = Some(known);
            return true;
        }
    }
    match tokio::time::timeout(ANSWER_LIMIT, options.connect()).await {
        Ok(Ok(new)) => {
            *conn = Some(new);
            true
        }
        // It answers, even if only to refuse the connection.
        Ok(Err(sqlx::Error::Database(_))) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}
