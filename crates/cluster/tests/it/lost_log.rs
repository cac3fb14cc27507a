//! The database was restored to an earlier moment under running nodes: the log goes on above all
//! that was ever seen of it, and nothing is remembered of what was lost.

use stoa_base::Pos;
use stoa_testing::{Backend, TestNode, both_databases, run_on, sample, surgery};

use crate::{ROOM, Recorder, SILENT, Told, node, soon};

/// Takes all but the first three positions from the log, and from the counter what was drawn.
async fn lose(node: &TestNode) {
    surgery::lose_log_after(&node.store, Pos(3)).await;
    surgery::lose_drawn_numbers(&node.store).await;
}

async fn write(node: &TestNode, nid: i64) -> Pos {
    node.writer.append(sample::message(nid, ROOM)).await.unwrap().last()
}

/// Where the log went on, of which `seen` was seen.
fn raised(recorder: &Recorder, seen: Pos) -> Pos {
    let told = recorder.take();
    let Some(Told::Clear(raised)) = told.last() else {
        panic!("caches were not cleared: {told:?}")
    };
    assert!(*raised > seen, "{raised} was given out before");
    *raised
}

both_databases! {
    async fn a_node_that_looks_has_the_log_go_on_above_what_was_seen(db: TestDatabase) {
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
fn a_node_that_writes_first_has_the_log_go_on_above_what_was_seen() {
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
fn nodes_that_have_seen_different_parts_of_what_was_lost_agree() {
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
        // The one that has seen less is the first to notice.
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

/// Asserts that caches were cleared before the node's own batch that ends at `last`.
fn raised_before(recorder: &Recorder, last: Pos) {
    let told = recorder.take();
    assert!(matches!(told.first(), Some(Told::Clear(_))), "{told:?}");
    let own = told
        .iter()
        .any(|told| matches!(told, Told::Batch { last: it, is_own: true, .. } if *it == last));
    assert!(own, "{told:?}");
}
