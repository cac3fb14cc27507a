//! What the time of a request is spent on.
//!
//! The parts of the engine note how long they wait, and need not know for whom. Whoever answers a
//! request measures it as a whole.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

tokio::task_local! {
    static SPENT: Cell<TimeSpent>;
}

/// How long something has waited, by what for. What is waited for at the same time counts each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpent {
    /// For statements, and for connections to send them on.
    pub database: Duration,
    /// For appends to the log, from the queue until they are flushed.
    pub appends: Duration,
    /// For news, of which there were none: nobody was busy.
    pub news: Duration,
}

impl TimeSpent {
    /// Does the work, and says how long it has waited in this task.
    pub async fn measure<T>(work: impl Future<Output = T>) -> (T, Self) {
        let measured = async { (work.await, SPENT.with(Cell::get)) };
        SPENT.scope(Cell::default(), measured).await
    }

    /// From now on the database is waited for.
    pub fn on_database() -> Spending {
        Self::on(|spent| &mut spent.database)
    }

    /// From now on an append is waited for.
    pub fn on_append() -> Spending {
        Self::on(|spent| &mut spent.appends)
    }

    /// From now on news are waited for.
    pub fn on_news() -> Spending {
        Self::on(|spent| &mut spent.news)
    }

    fn on(on: fn(&mut Self) -> &mut Duration) -> Spending {
        Spending { begun: SPENT.try_with(|_| Instant::now()).ok(), on }
    }
}

/// Time that is being spent, from now until this is dropped. Nothing is noted where nobody measures.
#[derive(Debug)]
pub struct Spending {
    begun: Option<Instant>,
    on: fn(&mut TimeSpent) -> &mut Duration,
}

impl Drop for Spending {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        // It may be dropped elsewhere than it began, where nobody measures.
        let _ = SPENT.try_with(|cell| {
            let mut spent = cell.get();
            *(self.on)(&mut spent) += begun.elapsed();
            cell.set(spent);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(7);

    #[tokio::test(start_paused = true)]
    async fn each_wait_counts_as_what_it_was_for() {
        let work = async {
            for _ in 0..2 {
                let _spending = TimeSpent::on_database();
                sleep(LONG).await;
            }
            let waiting = async {
                let _spending = TimeSpent::on_news();
                std::future::pending::<()>().await;
            };
            // Whoever gives up has waited as well.
            assert!(timeout(LONG, waiting).await.is_err());
            sleep(LONG).await;
            5
        };
        let expected = TimeSpent { database: 2 * LONG, appends: Duration::ZERO, news: LONG };
        assert_eq!(TimeSpent::measure(work).await, (5, expected));
    }

    #[tokio::test]
    async fn nothing_is_noted_where_nobody_measures() {
        let outside = TimeSpent::on_append();
        assert!(outside.begun.is_none());
        let ((), spent) = TimeSpent::measure(async { drop(outside) }).await;
        assert_eq!(spent, TimeSpent::default());
    }
}
