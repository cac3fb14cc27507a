//! The database was restored to an earlier moment under running nodes: the log continues above
//! everything that was ever seen of it, and nothing of the lost part is remembered.

use std::{sync::Arc, time::Duration};

use stoa_base::Pos;
use stoa_storage::log;
use stoa_testing::{
    Backend, TestDatabase, TestNode, TestPostgres, both_databases, run_on, sample, surgery,
};

use crate::{ROOM, Recorder, SILENT, Told, node, soon};

/// Removes all but the first three positions from the log, and resets the counter.
async fn lose(node: &TestNode) {
    surgery::lose_log_after(&node.store, Pos(3)).await;
    surgery::lose_drawn_numbers(&node.store).await;
}

async fn write(node: &TestNode, nid: i64) -> Pos {
    node.writer.append(sample::message(nid, ROOM)).await.unwrap().last()
}

/// Returns where the log continued; `seen` was seen before.
fn raised(recorder: &Recorder, seen: Pos) -> Pos {
    let told = recorder.take();
    let Some(Told::Clear(raised)) = told.last() else {
        panic!("caches were not cleared: {told:?}")
    };
    assert!(*raised > seen, "{raised} was given out before");
    *raised
}

both_databases! {
    async fn a_node_that_reads_continues_the_log_above_what_was_seen(db: TestDatabase) {
        let (node, recorder) = node(db, SILENT).await;
        for nid in 1..=8 {
            write(&node, nid).await;
        }
        let drawn = node.nids.take(1).await.unwrap();
        recorder.take();
        lose(&node).await;
        let wait = node.waiters.register(vec![stoa_base::RoomNid(8).into()]);

        let head = soon(node.tailer.catch_up()).await.unwrap();
        assert_eq!(raised(&recorder, Pos(8)), head);
        assert_eq!(node.tailer.applied(), head);
        soon(wait.changed()).await;
        let next = node.nids.take(1).await.unwrap();
        assert!(next.start > drawn.end + 1_000_000, "{next:?} may have been drawn before");

        assert_eq!(write(&node, 100).await, Pos(head.0 + 1));
        let batch = Told::Batch { prev: head, last: Pos(head.0 + 1), is_own: true };
        assert_eq!(recorder.take(), [batch]);
    }
}

#[test]
fn a_node_that_writes_first_continues_the_log_above_what_was_seen() {
    run_on(Backend::Postgres, async |db| {
        let (node, recorder) = node(db, SILENT).await;
        for nid in 1..=8 {
            write(&node, nid).await;
        }
        recorder.take();
        lose(&node).await;
        let last = soon(write(&node, 100)).await;
        let told = recorder.take();
        let [Told::Clear(raised), batch] = &told[..] else { panic!("{told:?}") };
        assert!(*raised > Pos(8));
        assert_eq!(*batch, Told::Batch { prev: *raised, last, is_own: true });
    });
}

#[test]
fn nodes_that_saw_different_parts_of_a_lost_log_agree() {
    run_on(Backend::Postgres, async |db| {
        let ((one, ones), (other, others)) = (node(db, SILENT).await, node(db, SILENT).await);
        for nid in 1..=6 {
            write(&one, nid).await;
        }
        soon(other.tailer.catch_up()).await.unwrap();
        for nid in 7..=9 {
            write(&one, nid).await;
        }
        ones.take();
        others.take();
        lose(&one).await;
        // The node that has seen less notices first.
        let lower = soon(write(&other, 100)).await;
        let higher = soon(write(&one, 101)).await;
        assert!(higher > lower && lower > Pos(9));
        raised_before(&ones, higher);
        raised_before(&others, lower);
        for node in [&one, &other] {
            assert_eq!(soon(node.freshness.current()).await.unwrap(), higher);
        }
        assert_eq!(write(&other, 102).await, Pos(higher.0 + 1));
    });
}

async fn was_lost(node: &TestNode, pos: Pos) -> bool {
    log::was_lost(&mut node.store.read().await.unwrap(), pos).await.unwrap()
}

/// Two nodes, the first of which has seen nine positions and the second three. Then the log is cut
/// off after those three, and the second node writes six others in their place.
async fn grown_again(db: &TestDatabase) -> [(TestNode, Arc<Recorder>); 2] {
    let ((one, ones), (other, others)) = (node(db, SILENT).await, node(db, SILENT).await);
    for nid in 1..=9 {
        if nid == 4 {
            soon(other.tailer.catch_up()).await.unwrap();
        }
        write(&one, nid).await;
    }
    surgery::lose_log_after(&one.store, Pos(3)).await;
    for nid in 104..=109 {
        assert_eq!(write(&other, nid).await, Pos(nid - 100));
    }
    ones.take();
    others.take();
    [(one, ones), (other, others)]
}

#[test]
fn a_log_that_was_cut_off_and_has_grown_again_is_noticed_by_a_look() {
    run_on(Backend::Postgres, async |db| {
        let [(one, ones), (other, others)] = grown_again(db).await;
        let head = soon(one.freshness.current()).await.unwrap();
        assert_eq!(raised(&ones, Pos(9)), head);
        for pos in 1..=9 {
            assert!(was_lost(&one, Pos(pos)).await, "clients may hold {pos} of what was lost");
            assert!(one.tailer.may_have_jumped_over(Pos(pos)));
        }
        assert!(!was_lost(&one, head).await);

        // The other node has lost nothing.
        assert_eq!(soon(other.freshness.current()).await.unwrap(), head);
        let told = others.take();
        assert!(told.iter().all(|told| matches!(told, Told::Batch { .. })), "{told:?}");
        assert!(other.tailer.may_have_jumped_over(Pos(9)));
        assert_eq!(write(&one, 200).await, Pos(head.0 + 1));
        assert_eq!(write(&other, 201).await, Pos(head.0 + 2));
    });
}

#[test]
fn a_log_that_was_cut_off_and_has_grown_again_is_noticed_by_a_write() {
    run_on(Backend::Postgres, async |db| {
        let [(one, ones), (other, _)] = grown_again(db).await;
        let last = soon(write(&one, 200)).await;
        assert!(last > Pos(9));
        raised_before(&ones, last);
        assert_eq!(soon(other.freshness.current()).await.unwrap(), last);
    });
}

#[test]
fn a_log_that_has_grown_further_is_noticed_too() {
    run_on(Backend::Postgres, async |db| {
        let [(one, ones), (other, _)] = grown_again(db).await;
        for nid in 110..=130 {
            write(&other, nid).await;
        }
        let head = soon(one.freshness.current()).await.unwrap();
        assert_eq!(raised(&ones, Pos(30)), head);
    });
}

/// The standby has received three positions when the primary is lost, which did not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_with_loss_is_noticed_by_nodes_and_passed_on_to_clients() {
    let Some(primary) = TestPostgres::start().await else { return };
    let db = TestDatabase::on_server(&primary.url()).await;
    let ((one, ones), (other, _)) = (node(&db, SILENT).await, node(&db, SILENT).await);
    let mut standby = primary.standby().await;
    let mut standby_has = Pos::START;
    for nid in 1..=3 {
        standby_has = write(&one, nid).await;
    }
    soon(other.tailer.catch_up()).await.unwrap();
    let mut conn = one.store.read().await.unwrap();
    soon(async {
        while !surgery::has_standby_caught_up(&mut conn).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(conn);
    standby.stop_immediately();
    let mut seen = standby_has;
    for nid in 4..=9 {
        seen = write(&one, nid).await;
    }
    let drawn = one.nids.take(1).await.unwrap();
    ones.take();
    standby.take_over(primary).await;

    // The node that has seen nothing of the lost part is the first to write.
    let last = write(&other, 100).await;
    assert!(last.0 > seen.0 + 1, "{last} follows what was lost");
    assert!(was_lost(&other, seen).await && was_lost(&other, Pos(standby_has.0 + 1)).await);
    assert!(!was_lost(&other, standby_has).await && !was_lost(&other, last).await);
    assert!(other.tailer.may_have_jumped_over(seen));
    let current = soon(async {
        loop {
            // The first read finds that the connection is lost.
            if let Ok(current) = one.freshness.current().await {
                break current;
            }
        }
    })
    .await;
    assert!(current >= last);
    let told = ones.take();
    assert!(matches!(told.first(), Some(Told::Clear(_))), "{told:?}");
    assert!(one.nids.take(1).await.unwrap().start > drawn.end + 1_000_000);
    assert!(write(&one, 101).await > last);
}

/// Asserts that caches were cleared before the node's own batch that ends at `last`.
fn raised_before(recorder: &Recorder, last: Pos) {
    let told = recorder.take();
    assert!(matches!(told.first(), Some(Told::Clear(_))), "{told:?}");
    let own = told
        .iter()
        .any(|told| matches!(told, Told::Batch { last: it, is_own: true, .. } if *it == last));
    assert!(own, "{told:?}");
}
