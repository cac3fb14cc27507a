//! The functions of the log itself. Appending is tested next to this folder.

use stoa_base::Pos;
use stoa_storage::{
    Store,
    log::{
        self, Append, AuditAction, AuditLink, AuditRow, BatchKey, Listener, LogReader, LoggedBatch,
        Mark, News, Stream,
    },
    repo::leases::{self, Fence},
};
use stoa_testing::{TestDatabase, TestNode, both_databases, run_on, sample, surgery};

use super::alice;
use crate::{ROOM, with, write};

/// The lease under which the log is pruned.
async fn take_lease(store: &Store) -> Fence {
    let mut conn = store.write().await.unwrap();
    let lease = leases::acquire(&mut conn, "prune", 0, 1, 60_000).await.unwrap().unwrap();
    conn.commit().await.unwrap();
    lease
}

/// The ends of the batches after `pos`.
async fn ends_after(store: &Store, pos: i64, limit: i64) -> Vec<i64> {
    let mut conn = store.read().await.unwrap();
    let found = log::batches_after(&mut conn, Pos(pos), limit).await.unwrap();
    found.iter().map(|batch| batch.last.0).collect()
}

/// A position, with whatever batch ends there.
fn unnamed(pos: i64) -> Mark {
    Mark { pos: Pos(pos), key: None }
}

fn ends(news: &News) -> Option<Vec<i64>> {
    match news {
        News::Batches(batches) => Some(batches.iter().map(|batch| batch.last.0).collect()),
        News::Gap { .. } | News::Lost { .. } => None,
    }
}

/// Three batches, which end at 1, 3 and 4.
async fn fill(db: &TestDatabase) -> TestNode {
    let node = TestNode::start(db).await;
    write(&node, sample::message(1, ROOM)).await;
    let two = with(|append| {
        append.next_pos();
        append.next_pos();
        append.touched.add(Stream::AccountData, alice());
    });
    write(&node, two).await;
    write(&node, Append::new()).await;
    node
}

both_databases! {
    async fn an_empty_log(db: TestDatabase) {
        let store = db.store().await;
        assert!(ends_after(&store, i64::MIN, i64::MAX).await.is_empty());
        let mut conn = store.read().await.unwrap();
        assert_eq!(log::head(&mut conn).await.unwrap(), Pos(0));
        assert_eq!(log::head_mark(&mut conn).await.unwrap(), Mark::START);
        for pos in [i64::MIN, 0, 1, i64::MAX] {
            assert!(!log::was_lost(&mut conn, Pos(pos)).await.unwrap());
        }
        drop(conn);
        let lease = take_lease(&store).await;
        assert_eq!(log::prune(&store, &lease, i64::MAX).await.unwrap(), 0);
        let news = LogReader::new(store).after(Mark::START, 10).await.unwrap();
        assert_eq!(ends(&news), Some(vec![]));
    }

    async fn batches_come_in_order_and_limited(db: TestDatabase) {
        let node = fill(db).await;
        for (pos, limit, expected) in [
            (0, 9, vec![1, 3, 4]), (1, 9, vec![3, 4]), (2, 9, vec![3, 4]), (4, 9, vec![]),
            (0, 2, vec![1, 3]), (0, 0, vec![]), (i64::MIN, i64::MAX, vec![1, 3, 4]),
        ] {
            assert_eq!(ends_after(&node.store, pos, limit).await, expected, "after {pos}, {limit}");
        }
        let mut conn = node.store.read().await.unwrap();
        assert_eq!(log::head(&mut conn).await.unwrap(), Pos(4));
        let end = BatchKey { incarnation: node.incarnation, seq: 3 };
        let expected = Mark { pos: Pos(4), key: Some(end) };
        assert_eq!(log::head_mark(&mut conn).await.unwrap(), expected);
        let found = log::batches_after(&mut conn, Pos(1), 1).await.unwrap();
        let LoggedBatch { prev, last, key, touched } = &found[0];
        assert_eq!((*prev, *last), (Pos(1), Pos(3)));
        assert_eq!(*key, BatchKey { incarnation: node.incarnation, seq: 2 });
        let touched: Vec<_> = touched.as_ref().unwrap().iter().collect();
        assert_eq!(touched, [(Stream::AccountData, &alice().into())]);
    }

    async fn a_reader_is_told_what_follows(db: TestDatabase) {
        let node = fill(db).await;
        let mut reader = LogReader::new(node.store.clone());
        for (pos, limit, expected) in
            [(0, 9, vec![1, 3, 4]), (3, 9, vec![4]), (4, 9, vec![]), (0, 2, vec![1, 3])]
        {
            let news = reader.after(unnamed(pos), limit).await.unwrap();
            assert_eq!(ends(&news), Some(expected), "after {pos}, {limit}");
        }
        // No batch ends there.
        let news = reader.after(unnamed(2), 9).await.unwrap();
        assert!(matches!(news, News::Gap { head } if head.pos == Pos(4)), "{news:?}");
        let news = reader.after(unnamed(5), 9).await.unwrap();
        assert!(matches!(news, News::Lost { head: Pos(4) }), "{news:?}");
        // The batch there can be distinguished from another one at the same position.
        let key = |seq| Some(BatchKey { incarnation: node.incarnation, seq });
        let news = reader.after(Mark { pos: Pos(3), key: key(2) }, 9).await.unwrap();
        assert_eq!(ends(&news), Some(vec![4]));
        let news = reader.after(Mark { pos: Pos(3), key: key(9) }, 9).await.unwrap();
        assert!(matches!(news, News::Lost { head: Pos(4) }), "{news:?}");
    }

    async fn the_rows_of_batches(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut reader = LogReader::new(node.store.clone());
        reader.rows(&[]).await.unwrap();
        write(&node, sample::creation(ROOM)).await;
        for nid in 1..=2 {
            write(&node, sample::message(nid, ROOM)).await;
        }
        let News::Batches(batches) = reader.after(Mark::START, 9).await.unwrap() else {
            panic!("batches");
        };
        let rows = reader.rows(&batches).await.unwrap();
        for (batch, nids) in batches.iter().zip([vec![], vec![1], vec![2]]) {
            let found = rows.of(batch).unwrap();
            let found: Vec<i64> = found.events.iter().map(|event| event.nid.0).collect();
            assert_eq!(found, nids);
        }
    }

    async fn incarnations_rise(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let before = conn.now_ms().await.unwrap();
        let first = log::new_incarnation(&mut conn).await.unwrap();
        let second = log::new_incarnation(&mut conn).await.unwrap();
        assert!(before <= first && first < second, "{before} {first} {second}");
    }

    async fn the_log_jumps_and_positions_inside_were_lost(db: TestDatabase) {
        let node = fill(db).await;
        let end = log::head_mark(&mut node.store.read().await.unwrap()).await.unwrap();
        let raised = log::raise(&node.store, Pos(10), &[end]).await.unwrap();
        assert!(raised.pos > Pos(10));
        let again = log::raise(&node.store, Pos(10), &[end]).await.unwrap();
        assert_eq!(again, raised, "once is enough");
        let raised = raised.pos;
        let mut conn = node.store.write().await.unwrap();
        assert_eq!(log::head(&mut conn).await.unwrap(), raised);
        for (pos, lost) in [
            (0, false), (4, false), (5, true), (10, true), (raised.0 - 1, true), (raised.0, false),
            (i64::MAX, false),
        ] {
            assert_eq!(log::was_lost(&mut conn, Pos(pos)).await.unwrap(), lost, "{pos}");
        }
        let now = Pos(conn.now_ms().await.unwrap() * 1_000);
        log::rise_to_now(&mut conn).await.unwrap();
        let risen = log::head(&mut conn).await.unwrap();
        assert!(risen >= now, "{risen} {now}");
        assert!(log::was_lost(&mut conn, Pos(raised.0 + 1)).await.unwrap());
        conn.commit().await.unwrap();
    }

    async fn old_batches_are_pruned_except_the_last_of_a_run(db: TestDatabase) {
        let node = fill(db).await;
        let lease = take_lease(&node.store).await;
        assert_eq!(log::prune(&node.store, &lease, 0).await.unwrap(), 0);
        assert_eq!(log::prune(&node.store, &lease, i64::MAX).await.unwrap(), 2);
        assert_eq!(log::prune(&node.store, &lease, i64::MAX).await.unwrap(), 0);
        assert_eq!(surgery::batch_count(&node.store).await, 1);
        assert_eq!(ends_after(&node.store, 0, 9).await, [4]);
        write(&node, Append::new()).await;
        let lost = Fence { number: lease.number - 1, ..lease };
        let refused = log::prune(&node.store, &lost, i64::MAX).await;
        assert!(matches!(refused, Err(stoa_storage::Error::LeaseLost)));
    }

    async fn the_audit_log_is_intact(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let link = AuditLink { pos: Pos(1), link: String::new() };
        let mut conn = node.store.read().await.unwrap();
        assert_eq!(log::audit_head(&mut conn).await.unwrap(), None);
        assert!(!log::has_audit_link(&mut conn, &link).await.unwrap());
        drop(conn);
        assert_eq!(log::verify_audit(&node.store).await.unwrap().links, 0);
        for number in 1..=3 {
            let actor = stoa_base::Actor::user(alice());
            let row = AuditRow::new(number, AuditAction::SessionBegun, &actor, "it's \"🦀\"");
            write(&node, with(|append| append.audit.push(row))).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let head = log::audit_head(&mut conn).await.unwrap().unwrap();
        assert_eq!(head.pos, Pos(3));
        assert!(log::has_audit_link(&mut conn, &head).await.unwrap());
        assert!(!log::has_audit_link(&mut conn, &AuditLink { pos: Pos(2), ..head.clone() }).await.unwrap());
        drop(conn);
        let check = log::verify_audit(&node.store).await.unwrap();
        assert_eq!((check.entries, check.head, check.fault), (3, Some(head), None));
    }

    async fn announcing_needs_no_listener(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        for pos in [Pos::START, Pos(i64::MAX), Pos(i64::MIN)] {
            log::announce(&mut conn, pos).await.unwrap();
        }
        let listener = Listener::connect(&store).await.unwrap();
        assert_eq!(listener.is_some(), db.backend() == stoa_storage::Backend::Postgres);
    }

    async fn each_append_is_answered_separately(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let pending = node.writer.enqueue(sample::message(1, ROOM)).unwrap();
        assert_eq!(pending.wait().await.unwrap().last(), Pos(1));
        let appended = node.writer.append(sample::message(2, ROOM)).await.unwrap();
        assert_eq!(appended.last(), Pos(2));
        let build = || async { Ok(sample::message(3, ROOM)) };
        assert_eq!(node.writer.append_locked(build).await.unwrap().last(), Pos(3));
    }
}

#[test]
fn announcements_are_received() {
    run_on(stoa_storage::Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut listener = Listener::connect(&store).await.unwrap().unwrap();
        let mut conn = store.read().await.unwrap();
        for pos in [Pos(7), Pos(i64::MAX)] {
            log::announce(&mut conn, pos).await.unwrap();
            assert_eq!(listener.next().await.unwrap(), Some(pos));
        }
    });
}
