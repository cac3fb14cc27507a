//! What is given up half-way leaves nothing behind on a connection that others get next.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use stoa_storage::{Store, log};
use stoa_testing::{Backend, run_on, surgery};

/// More than there are pooled connections.
const ROUNDS: u64 = 400;

/// A request whose client hangs up while its snapshot begins.
#[test]
fn nobody_reads_in_a_snapshot_that_was_given_up() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let connections = db.options().max_connections;
        surgery::write_batches_elsewhere(&store, 1..=1).await;
        assert!(heads(&store, connections).await.iter().all(|head| *head == 1));
        for round in 0..ROUNDS {
            let mut snapshot = pin!(store.snapshot());
            // Given up after so many steps, some of them before an answer can be there.
            for _ in 0..=round % 5 {
                let poll = poll_fn(|context| Poll::Ready(snapshot.as_mut().poll(context)));
                if poll.await.is_ready() {
                    break;
                }
                std::thread::sleep(Duration::from_micros(20 * (round % 7)));
            }
            if round % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(heads(&store, connections).await.iter().all(|head| *head == 1));
        surgery::write_batches_elsewhere(&store, 2..=2).await;
        let heads = heads(&store, connections).await;
        assert!(heads.iter().all(|head| *head == 2), "some read in the past: {heads:?}");
    });
}

/// The head of the log as each pooled connection reads it.
async fn heads(store: &Store, connections: u32) -> Vec<i64> {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(store.read().await.unwrap());
    }
    let mut heads = Vec::new();
    for conn in &mut held {
        heads.push(log::head(conn).await.unwrap().0);
    }
    heads
}
