//! Positions become visible in order, and without gaps.

use std::{collections::HashSet, sync::Arc, time::Duration};

use stoa_base::{Pos, RoomNid};
use stoa_storage::{Backend, Store, log};
use stoa_testing::{TestNode, both_databases, sample};
use tokio::{sync::watch, task::JoinSet};

const WRITERS: i64 = 50;
const APPENDS: i64 = 220;

both_databases! {
    async fn no_position_is_skipped_repeated_or_seen_out_of_order(db: TestDatabase) {
        let one = TestNode::start(db).await;
        let mut nodes = vec![one];
        if db.backend() == Backend::Postgres {
            nodes.push(TestNode::start(db).await);
        }
        let done = watch::Sender::new(false);
        let mut readers = JoinSet::new();
        for _ in 0..3 {
            readers.spawn(follow_events(nodes[0].store.clone(), done.subscribe()));
        }
        readers.spawn(follow_batches(nodes[0].store.clone(), done.subscribe()));

        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let node = nodes[usize::try_from(writer).unwrap() % nodes.len()].clone();
            writers.spawn(async move {
                let mut positions = Vec::new();
                for number in 0..APPENDS {
                    // Every eleventh takes two positions.
                    let nid = 1 + 2 * (writer * APPENDS + number);
                    let mut append = sample::message(nid, RoomNid(1 + nid % 5));
                    let pos = append.events[0].pos.unwrap();
                    let more = (number % 11 == 0).then(|| append.next_pos());
                    if let Some(pos) = more {
                        let event = sample::event(nid + 1, RoomNid(1));
                        append.events.push(log::EventRow { pos: Some(pos), ..event });
                    }
                    let appended = node.writer.append(append).await.unwrap();
                    positions.push(appended.pos(pos));
                    positions.extend(more.map(|pos| appended.pos(pos)));
                    // An acknowledged append is applied on the node that wrote it.
                    assert!(node.tailer.applied() >= appended.last());
                }
                positions
            });
        }
        let mut positions: Vec<Pos> = writers.join_all().await.into_iter().flatten().collect();
        done.send_replace(true);
        positions.sort_unstable();
        let expected: Vec<Pos> = (1..=WRITERS * (APPENDS + APPENDS / 11)).map(Pos).collect();
        assert_eq!(positions, expected);
        for seen in readers.join_all().await {
            assert_eq!(seen, expected.len(), "a reader has seen every position, once");
        }
    }
}

/// Reads the events as they appear. Everything up to the head that was read exists, and does not
/// change later.
async fn follow_events(store: Store, done: watch::Receiver<bool>) -> usize {
    let mut seen = Pos::START;
    let mut count = 0;
    loop {
        let is_last = *done.borrow();
        let mut conn = store.snapshot().await.unwrap();
        let head = log::head(&mut conn).await.unwrap();
        let rows: Vec<(i64,)> = conn
            .all("SELECT pos FROM events WHERE pos > $1 ORDER BY pos", &[seen.0.into()])
            .await
            .unwrap();
        let expected: Vec<(i64,)> = (seen.0 + 1..=head.0).map(|pos| (pos,)).collect();
        assert_eq!(rows, expected, "between {seen} and {head}");
        count += rows.len();
        seen = head;
        if is_last {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Reads the log as a tailer does, in separate reads.
async fn follow_batches(store: Store, done: watch::Receiver<bool>) -> usize {
    let mut seen = Pos::START;
    let mut keys = HashSet::new();
    let store = Arc::new(store);
    loop {
        let is_last = *done.borrow();
        let mut conn = store.read().await.unwrap();
        for batch in log::batches_after(&mut conn, seen, i64::MAX - 1).await.unwrap() {
            assert_eq!(batch.prev, seen, "batches follow one another");
            assert!(batch.last > seen);
            assert!(keys.insert(batch.key), "each key belongs to one batch");
            seen = batch.last;
        }
        drop(conn);
        if is_last {
            return usize::try_from(seen.0).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
