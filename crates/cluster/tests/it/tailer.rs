//! Caches get every batch, in order and once; waiting readers are woken.

use std::time::Duration;

use stoa_base::{Pos, RoomNid};
use stoa_cluster::TailerOptions;
use stoa_testing::{Backend, TestNode, run_on, sample, surgery};

use crate::{ROOM, SILENT, Told, node, soon};

/// Asserts that batches follow one another, and returns how many of them the node itself wrote.
fn own(told: &[Told]) -> usize {
    let mut applied = Pos::START;
    let mut count = 0;
    for told in told {
        let Told::Batch { prev, last, is_own } = told else { panic!("{told:?}") };
        assert_eq!(*prev, applied);
        assert!(last > prev);
        applied = *last;
        count += usize::from(*is_own);
    }
    count
}

async fn write(node: &TestNode, nids: std::ops::RangeInclusive<i64>) -> Pos {
    let mut last = Pos::START;
    for nid in nids {
        last = node.writer.append(sample::message(nid, ROOM)).await.unwrap().last();
    }
    last
}

#[test]
fn caches_of_every_node_are_told_of_every_batch_in_order_and_once() {
    run_on(Backend::Postgres, async |db| {
        let often = TailerOptions { interval: Duration::from_millis(1), announce: true };
        let ((one, ones), (other, others)) = (node(db, often).await, node(db, often).await);
        tokio::join!(write(&one, 1..=100), write(&other, 101..=200));
        for node in [&one, &other] {
            assert_eq!(soon(node.freshness.current()).await.unwrap(), Pos(200));
        }
        for told in [ones.take(), others.take()] {
            assert_eq!((told.len(), own(&told)), (200, 100));
        }
    });
}

#[test]
fn a_node_that_is_far_behind_catches_up_page_by_page() {
    run_on(Backend::Postgres, async |db| {
        let (node, recorder) = node(db, SILENT).await;
        surgery::write_batches_elsewhere(&node.store, 1..=1700).await;
        assert_eq!(soon(node.tailer.catch_up()).await.unwrap(), Pos(1700));
        let told = recorder.take();
        assert_eq!((told.len(), own(&told)), (1700, 0));
        // Its own next batch comes after those of other nodes.
        surgery::write_batches_elsewhere(&node.store, 1701..=2900).await;
        assert_eq!(write(&node, 1..=1).await, Pos(2901));
        let told = recorder.take();
        assert_eq!(told.len(), 1201);
        assert!(matches!(told.last(), Some(Told::Batch { is_own: true, .. })), "{told:?}");
    });
}

#[test]
fn a_reader_on_another_node_is_woken_by_an_announcement() {
    run_on(Backend::Postgres, async |db| {
        let announcing = TailerOptions { announce: true, ..SILENT };
        let ((one, _), (other, _)) = (node(db, announcing).await, node(db, announcing).await);
        woken(&one, &other).await;
    });
}

#[test]
fn a_reader_on_another_node_is_woken_without_announcements_too() {
    run_on(Backend::Postgres, async |db| {
        let looking = TailerOptions { interval: Duration::from_millis(20), announce: false };
        let ((one, _), (other, _)) = (node(db, SILENT).await, node(db, looking).await);
        woken(&one, &other).await;
    });
}

/// Asserts that a reader waiting on `other` is woken by what `one` writes.
async fn woken(one: &TestNode, other: &TestNode) {
    let wait = other.waiters.register(vec![ROOM.into()]);
    let elsewhere = other.waiters.register(vec![RoomNid(8).into()]);
    for nid in 1..=5 {
        let last = write(one, nid..=nid).await;
        soon(async {
            while other.tailer.applied() < last {
                wait.changed().await;
            }
        })
        .await;
    }
    tokio::time::timeout(Duration::from_millis(20), elsewhere.changed()).await.unwrap_err();
}

#[test]
fn a_node_below_the_oldest_batch_drops_what_it_has_cached_and_goes_on() {
    run_on(Backend::Postgres, async |db| {
        let ((one, _), (other, recorder)) = (node(db, SILENT).await, node(db, SILENT).await);
        write(&one, 1..=3).await;
        soon(other.tailer.catch_up()).await.unwrap();
        recorder.take();
        write(&one, 4..=9).await;
        surgery::prune_log(&one.store, i64::MAX).await.unwrap();

        let wait = other.waiters.register(vec![RoomNid(8).into()]);
        assert_eq!(soon(other.freshness.current()).await.unwrap(), Pos(9));
        assert_eq!(recorder.take(), [Told::Clear(Pos(9))]);
        // It is unknown what has changed, so every reader is woken.
        soon(wait.changed()).await;
        write(&one, 10..=10).await;
        soon(other.freshness.current()).await.unwrap();
        assert_eq!(recorder.take(), [Told::Batch { prev: Pos(9), last: Pos(10), is_own: false }]);
    });
}

#[test]
fn a_node_whose_own_batch_is_the_oldest_drops_what_it_has_cached_and_goes_on() {
    run_on(Backend::Postgres, async |db| {
        let ((one, _), (other, recorder)) = (node(db, SILENT).await, node(db, SILENT).await);
        write(&one, 1..=9).await;
        surgery::prune_log(&one.store, i64::MAX).await.unwrap();
        assert_eq!(write(&other, 10..=10).await, Pos(10));
        let own = Told::Batch { prev: Pos(9), last: Pos(10), is_own: true };
        assert_eq!(recorder.take(), [Told::Clear(Pos(9)), own]);
    });
}

/// Nodes of a newer version write something that this version does not know.
#[test]
fn batches_of_a_newer_version_do_not_stop_a_node() {
    run_on(Backend::Postgres, async |db| {
        use surgery::NOTHING;
        let (node, recorder) = node(db, SILENT).await;
        write(&node, 1..=1).await;
        recorder.take();
        let wait = node.waiters.register(vec![ROOM.into()]);
        let elsewhere = node.waiters.register(vec![RoomNid(8).into()]);

        surgery::write_elsewhere(&node.store, r#"[["rockets",7]]"#, NOTHING).await;
        assert_eq!(soon(node.tailer.catch_up()).await.unwrap(), Pos(2));
        assert_eq!(recorder.take(), [Told::Batch { prev: Pos(1), last: Pos(2), is_own: false }]);
        soon(wait.changed()).await;
        tokio::time::timeout(Duration::from_millis(20), elsewhere.changed()).await.unwrap_err();

        // It is unknown whom it concerns, so everybody is woken.
        surgery::write_elsewhere(&node.store, r#"[["timeline",{"star":7}]]"#, NOTHING).await;
        assert_eq!(soon(node.freshness.current()).await.unwrap(), Pos(3));
        assert_eq!(recorder.take(), [Told::Clear(Pos(3))]);
        soon(elsewhere.changed()).await;

        assert_eq!(write(&node, 2..=2).await, Pos(4));
        assert_eq!(recorder.take(), [Told::Batch { prev: Pos(3), last: Pos(4), is_own: true }]);
    });
}
