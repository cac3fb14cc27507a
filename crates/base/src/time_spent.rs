//! How a request spends its time.
//!
//! The parts of the engine record how long they wait, without knowing for whom. The code that
//! answers a request measures the request as a whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

tokio::task_local! {
    static LEDGER: Arc<Ledger>;
}

/// The time spent so far, in nanoseconds.
#[derive(Debug, Default)]
struct Ledger {
    database: AtomicU64,
    appends: AtomicU64,
    news: AtomicU64,
    client: AtomicU64,
}

/// How long something has waited, by what it waited for. Waits that overlap all count in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpent {
    /// For statements, and for connections to send them on.
    pub database: Duration,
    /// For appends to the log, from entering the queue until they are flushed.
    pub appends: Duration,
    /// For news that has not happened yet, as in a long poll. Nobody was busy.
    pub news: Duration,
    /// For the client to send the rest of its request.
    pub client: Duration,
}

impl TimeSpent {
    /// Runs `work`, and returns its result with how long it waited.
    pub async fn measure<T>(work: impl Future<Output = T>) -> (T, Self) {
        let ledger = Arc::<Ledger>::default();
        let done = LEDGER.scope(Arc::clone(&ledger), work).await;
        let read = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        let Ledger { database, appends, news, client } = &*ledger;
        let spent = Self {
            database: read(database),
            appends: read(appends),
            news: read(news),
            client: read(client),
        };
        (done, spent)
    }

    /// Work in a task of its own that is to be measured as part of the current work.
    pub fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
        let ledger = LEDGER.try_with(Arc::clone).unwrap_or_default();
        LEDGER.scope(ledger, work)
    }

    /// Starts to count a wait for the database.
    pub fn on_database() -> Spending {
        Spending::begin(|ledger| &ledger.database)
    }

    /// Starts to count a wait for an append.
    pub fn on_append() -> Spending {
        Spending::begin(|ledger| &ledger.appends)
    }

    /// Starts to count a wait for news.
    pub fn on_news() -> Spending {
        Spending::begin(|ledger| &ledger.news)
    }

    /// Starts to count a wait for the client.
    pub fn on_client() -> Spending {
        Spending::begin(|ledger| &ledger.client)
    }
}

/// Time being spent, from now until this is dropped, in whichever task. Nothing is recorded unless
/// somebody measures.
#[derive(Debug)]
pub struct Spending {
    begun: Option<(Arc<Ledger>, Instant)>,
    on: fn(&Ledger) -> &AtomicU64,
}

impl Spending {
    fn begin(on: fn(&Ledger) -> &AtomicU64) -> Self {
        let begun = LEDGER.try_with(|ledger| (Arc::clone(ledger), Instant::now()));
        Self { begun: begun.ok(), on }
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        if let Some((ledger, begun)) = &self.begun {
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            (self.on)(ledger).fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(7);

    #[tokio::test(start_paused = true)]
    async fn each_wait_is_counted_by_its_kind() {
        let work = async {
            for _ in 0..2 {
                let _spending = TimeSpent::on_database();
                sleep(LONG).await;
            }
            let waiting = async {
                let _spending = TimeSpent::on_news();
                std::future::pending::<()>().await;
            };
            // A wait that was cancelled counts as well.
            assert!(timeout(LONG, waiting).await.is_err());
            sleep(LONG).await;
            let elsewhere = TimeSpent::carry(async {
                let _spending = TimeSpent::on_append();
                sleep(LONG).await;
            });
            tokio::spawn(elsewhere).await.unwrap();
            let _spending = TimeSpent::on_client();
            sleep(LONG).await;
            5
        };
        let expected = TimeSpent { database: 2 * LONG, appends: LONG, news: LONG, client: LONG };
        assert_eq!(TimeSpent::measure(work).await, (5, expected));
    }

    #[tokio::test]
    async fn nothing_is_recorded_unless_somebody_measures() {
        let outside = TimeSpent::on_append();
        assert!(outside.begun.is_none());
        let ((), spent) = TimeSpent::measure(async { drop(outside) }).await;
        assert_eq!(spent, TimeSpent::default());
    }
}
