//! Closed loops: workers that each start the next operation when their last one has ended.

use std::{cell::Cell, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    connection::{Connection, Failure, Server},
    figures::Recorder,
};

/// When the workers stop: whichever comes first. Operations in progress are finished.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) operations: usize,
    pub(crate) time: Duration,
}

/// The result of a loop.
pub(crate) struct Driven<T> {
    pub(crate) recorder: Recorder,
    /// From the start of the first operation to the end of the last.
    pub(crate) time: Duration,
    /// The values of the successes, in no particular order.
    pub(crate) results: Vec<T>,
}

/// Runs `operation` in as many workers as given, with the worker's connection and number and the
/// operation's number, which is given to one worker only. It says how long it took.
pub(crate) async fn drive<T>(
    server: &Server,
    workers: usize,
    limit: Limit,
    operation: impl AsyncFn(&mut Connection, usize, usize) -> Result<(T, Duration), Failure>,
) -> Driven<T> {
    let next = Cell::new(0);
    let started = Instant::now();
    let work = |worker| {
        let (next, operation) = (&next, &operation);
        async move {
            let mut connection = server.connection();
            let (mut recorder, mut results) = (Recorder::default(), Vec::new());
            while next.get() < limit.operations && started.elapsed() < limit.time {
                let number = next.replace(next.get() + 1);
                match operation(&mut connection, worker, number).await {
                    Ok((result, elapsed)) => {
                        recorder.success(elapsed);
                        results.push(result);
                    }
                    Err(failure) => recorder.failure(&failure),
                }
            }
            (recorder, results)
        }
    };
    let outcomes = join_all((0..workers).map(work)).await;
    let mut driven =
        Driven { recorder: Recorder::default(), time: started.elapsed(), results: Vec::new() };
    for (recorder, results) in outcomes {
        driven.recorder.merge(recorder);
        driven.results.extend(results);
    }
    driven
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Server {
        Server::new("127.0.0.1:1", Duration::from_secs(1))
    }

    #[tokio::test]
    async fn each_number_is_given_once() {
        let limit = Limit { operations: 100, time: Duration::from_mins(1) };
        let mut driven = drive(&nowhere(), 7, limit, async |_, _, number| {
            tokio::task::yield_now().await;
            if number % 10 == 3 { Err(Failure::Timeout) } else { Ok((number, Duration::ZERO)) }
        })
        .await;
        driven.results.sort_unstable();
        assert_eq!(driven.results, (0..100).filter(|n| n % 10 != 3).collect::<Vec<_>>());
        assert_eq!(driven.recorder.failures(), "10 × no answer in time");
    }

    #[tokio::test(start_paused = true)]
    async fn time_ends_it() {
        let limit = Limit { operations: usize::MAX, time: Duration::from_millis(100) };
        let driven = drive(&nowhere(), 2, limit, async |_, _, _| {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(((), Duration::from_millis(10)))
        })
        .await;
        assert_eq!(driven.results.len(), 20);
        assert_eq!(driven.time, Duration::from_millis(100));
    }
}
