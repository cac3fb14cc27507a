//! Appending to the log: from the queue to the answer after the flush.

use std::cell::Cell;

use divan::{Bencher, counter::ItemsCount};
use futures_util::future::join_all;
use stoa_base::RoomNid;
use stoa_testing::{Backend, TestDatabase, TestNode, sample};

/// Messages of one sender, each after the last was acknowledged.
#[divan::bench]
fn one_on_sqlite(bencher: Bencher<'_, '_>) {
    append(bencher, Backend::Sqlite, 1);
}

/// Fifty messages that wait together.
#[divan::bench]
fn fifty_on_sqlite(bencher: Bencher<'_, '_>) {
    append(bencher, Backend::Sqlite, 50);
}

/// Messages of one sender, each after the last was acknowledged.
#[divan::bench]
fn one_on_postgres(bencher: Bencher<'_, '_>) {
    append(bencher, Backend::Postgres, 1);
}

/// Fifty messages that wait together.
#[divan::bench]
fn fifty_on_postgres(bencher: Bencher<'_, '_>) {
    append(bencher, Backend::Postgres, 50);
}

fn append(bencher: Bencher<'_, '_>, backend: Backend, together: i64) {
    let runtime = crate::runtime();
    let Some(database) = runtime.block_on(TestDatabase::create(backend)) else { return };
    let node = runtime.block_on(TestNode::start(&database));
    let next = Cell::new(1);
    let count = ItemsCount::new(usize::try_from(together).expect("a small number"));
    bencher.counter(count).bench_local(|| {
        let first = next.replace(next.get() + together);
        let appends = (first..first + together).map(|nid| {
            let append = sample::message(nid, RoomNid(1 + nid % 5));
            node.writer.append(append)
        });
        for appended in runtime.block_on(join_all(appends)) {
            appended.expect("an append");
        }
    });
    // The database is deleted when nothing of this runs any more.
    drop(node);
    drop(runtime);
}
