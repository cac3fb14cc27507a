//! SQLite's write-ahead log stays small even if there is always a reader.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stoa_storage::{Store, log};
use stoa_testing::{TestDatabase, TestNode, sample};

use crate::{ROOM, write};

const READERS: u64 = 7;
/// How much is written: far more than the log may contain.
const APPENDS: i64 = 1_200;
const BYTES: usize = 60_000;
/// How much the log may contain, including what is written until its size is noticed and readers
/// are done.
const LIMIT: u64 = 56 << 20;
/// How long a reader or a writer may be held off.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_small_while_readers_overlap() {
    let db = TestDatabase::sqlite();
    let node = TestNode::start(&db).await;
    write(&node, sample::creation(ROOM)).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|number| tokio::spawn(read(node.store.clone(), number, Arc::clone(&is_over))))
        .collect();

    let (mut largest, mut slowest) = (0, Duration::ZERO);
    let began = Instant::now();
    for nid in 1..=APPENDS {
        let mut append = sample::message(nid, ROOM);
        append.events[0].json = format!("{{\"body\":\"{}\"}}", "x".repeat(BYTES));
        let asked = Instant::now();
        write(&node, append).await;
        slowest = slowest.max(asked.elapsed());
        largest = largest.max(node.store.wal_bytes().unwrap());
    }
    println!("wrote for {:?}, the slowest for {slowest:?}", began.elapsed());
    is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        let slowest = reader.await.unwrap();
        assert!(slowest < PATIENCE, "a reader was held off for {slowest:?}");
    }
    println!("the log held {} MiB at most", largest >> 20);
    assert!(largest < LIMIT, "the log held {largest} bytes");
    assert!(slowest < PATIENCE, "a writer was held off for {slowest:?}");
}

/// Reads without pause, a few milliseconds per snapshot. Returns how long it took at most to begin.
async fn read(store: Store, number: u64, is_over: Arc<AtomicBool>) -> Duration {
    let mut slowest = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let mut conn = store.snapshot().await.unwrap();
        log::head(&mut conn).await.unwrap();
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(3 + number)).await;
        log::head(&mut conn).await.unwrap();
    }
    slowest
}

/// A backup tool that reads for a long time keeps the log from being emptied, and is allowed to.
/// Nobody else is held off again and again because of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_reader_does_not_hold_everybody_off() {
    let db = TestDatabase::sqlite();
    let node = TestNode::start(&db).await;
    write(&node, sample::creation(ROOM)).await;
    let _elsewhere = db.read_for_long().await;
    for nid in 1..=700 {
        let mut append = sample::message(nid, ROOM);
        append.events[0].json = format!("{{\"body\":\"{}\"}}", "x".repeat(BYTES));
        write(&node, append).await;
    }
    assert!(node.store.wal_bytes().unwrap() > 33 << 20);
    let (mut held_off, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        let mut conn = node.store.snapshot().await.unwrap();
        log::head(&mut conn).await.unwrap();
        held_off += i32::from(asked.elapsed() > Duration::from_millis(70));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Attempts become rarer, down to one every four seconds.
    assert!(held_off <= 8, "readers were held off {held_off} times");
}
