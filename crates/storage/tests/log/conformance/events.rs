use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::{
    Conn,
    log::{EventRow, EventStatus, MissingPrevEventRow, RedactionRow},
    repo::events::{self, Order, StoredEventRow},
};
use stoa_testing::{TestNode, both_databases, sample};

use super::{UNUSUAL, long_text, refused};
use crate::{ROOM, with, write};

const OTHER: RoomNid = RoomNid(8);

fn numbers(nids: &[EventNid]) -> Vec<i64> {
    nids.iter().map(|nid| nid.0).collect()
}

fn nids(found: &[StoredEventRow]) -> Vec<i64> {
    found.iter().map(|event| event.nid.0).collect()
}

fn sorted(found: &[StoredEventRow]) -> Vec<i64> {
    let mut nids = nids(found);
    nids.sort_unstable();
    nids
}

/// The live events 1, 2, 5 and 8 of [`ROOM`] and 3 of another room, and before 2, fetched later, 6
/// and 7; 4 is rejected, 9 soft-failed, 10 an outlier. In order: 1 7 6 2 5 8.
async fn fill(node: &TestNode) {
    for (nid, room) in [(1, ROOM), (2, ROOM), (3, OTHER)] {
        write(node, sample::message(nid, room)).await;
    }
    let mut rejected = sample::message(4, ROOM);
    rejected.events[0].status = EventStatus::Rejected;
    write(node, rejected).await;
    write(node, sample::message(5, ROOM)).await;
    write(
        node,
        with(|append| {
            for (nid, ord_depth) in [(6, 20), (7, 10)] {
                let event = sample::event(nid, ROOM);
                append.events.push(EventRow { ord_pos: Some(2), ord_depth, ..event });
            }
        }),
    )
    .await;
    write(node, sample::message(8, ROOM)).await;
    let mut soft_failed = sample::message(9, ROOM);
    soft_failed.events[0].status = EventStatus::SoftFailed;
    write(node, soft_failed).await;
    write(node, with(|append| append.events.push(sample::event(10, ROOM)))).await;
}

async fn order_of(conn: &mut Conn, nid: i64) -> Order {
    events::by_nids(conn, [EventNid(nid)]).await.unwrap()[0].order.unwrap()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert!(events::by_nids(&mut conn, []).await.unwrap().is_empty());
        assert!(events::by_nids(&mut conn, [EventNid(1)]).await.unwrap().is_empty());
        assert!(events::by_ids(&mut conn, []).await.unwrap().is_empty());
        assert!(events::by_ids(&mut conn, ["$a"]).await.unwrap().is_empty());
        assert!(events::by_transaction(&mut conn, "a", "b").await.unwrap().is_none());
        let (start, end) = (Order::START, Order::END);
        assert!(events::forward(&mut conn, ROOM, start, end, 9).await.unwrap().is_empty());
        assert!(events::backward(&mut conn, ROOM, end, start, 9).await.unwrap().is_empty());
        for rooms in [vec![], vec![ROOM]] {
            let found = events::newest_nids(&mut conn, rooms, start, Pos(i64::MAX), 9).await.unwrap();
            assert!(found.is_empty());
        }
        assert!(events::waiting_for(&mut conn, "$a").await.unwrap().is_empty());
    }

    async fn events_are_found_by_number_and_by_id(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let wanted = [1, 10, 11, 4, 1, i64::MAX, i64::MIN].map(EventNid);
        let found = events::by_nids(&mut conn, wanted).await.unwrap();
        assert_eq!(sorted(&found), [1, 4, 10]);
        let found = events::by_ids(&mut conn, ["$event3", "$EVENT3", "$event9", "$event3"]).await;
        assert_eq!(sorted(&found.unwrap()), [3, 9]);
    }

    async fn every_column_is_read(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, with(|append| {
            append.next_pos();
            let pos = append.next_pos();
            append.events.push(EventRow {
                pos: Some(pos),
                status: EventStatus::SoftFailed,
                ord_depth: i64::MAX,
                state_before: Some(StateNid(i64::MAX)),
                state_after: Some(StateNid(i64::MIN)),
                replaces: Some(EventNid(i64::MAX)),
                txn_device: Some("device".to_owned()),
                txn_id: Some("txn".to_owned()),
                ..sample::event(i64::MAX, RoomNid(i64::MIN))
            });
            append.events.push(EventRow {
                state_before: None, state_after: None, ..sample::event(1, ROOM)
            });
        })).await;
        write(&node, with(|append| append.redactions.push(RedactionRow {
            nid: EventNid(i64::MAX), redacted_by: EventNid(1), json: "{}".to_owned(),
        }))).await;
        let mut conn = node.store.read().await.unwrap();
        let live = events::by_nids(&mut conn, [EventNid(i64::MAX)]).await.unwrap().remove(0);
        assert_eq!((live.room, live.pos), (RoomNid(i64::MIN), Some(Pos(2))));
        assert_eq!(live.event_id, format!("$event{}", i64::MAX));
        assert_eq!(live.order, Some(Order { pos: 2, depth: i64::MAX, seq: i64::MAX }));
        assert_eq!(live.status, EventStatus::SoftFailed);
        let states = (live.state_before, live.state_after);
        assert_eq!(states, (Some(StateNid(i64::MAX)), Some(StateNid(i64::MIN))));
        assert_eq!((live.replaces, live.redacted_by), (Some(EventNid(i64::MAX)), Some(EventNid(1))));
        let transaction = (live.txn_device.as_deref(), live.txn_id.as_deref());
        assert_eq!((transaction, live.json.as_str()), ((Some("device"), Some("txn")), "{}"));

        let outlier = events::by_nids(&mut conn, [EventNid(1)]).await.unwrap().remove(0);
        assert_eq!((outlier.pos, outlier.order, outlier.status), (None, None, EventStatus::Accepted));
        assert_eq!((outlier.state_before, outlier.state_after, outlier.replaces), (None, None, None));
        assert_eq!((outlier.txn_device, outlier.txn_id, outlier.redacted_by), (None, None, None));
    }

    async fn a_transaction_id_belongs_to_one_device(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (nid, device, txn_id) in [(1, "A", "t"), (2, "B", "t"), (3, "A", "T")] {
            let mut append = sample::message(nid, ROOM);
            append.events[0].txn_device = Some(device.to_owned());
            append.events[0].txn_id = Some(txn_id.to_owned());
            write(&node, append).await;
        }
        let mut conn = node.store.read().await.unwrap();
        for (device, txn_id, nid) in
            [("A", "t", Some(1)), ("B", "t", Some(2)), ("A", "T", Some(3)), ("B", "T", None)]
        {
            let found = events::by_transaction(&mut conn, device, txn_id).await.unwrap();
            assert_eq!(found.map(|event| event.nid.0), nid, "{device} {txn_id}");
        }
    }

    async fn a_room_has_one_order_forward_and_backward(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let (start, end) = (Order::START, Order::END);
        let order = [1, 7, 6, 2, 5, 8];
        for limit in [0, 1, 3, 6, 7, i64::MAX] {
            let count = usize::try_from(limit.min(6)).unwrap();
            let found = events::forward(&mut conn, ROOM, start, end, limit).await.unwrap();
            assert_eq!(numbers(&found), order[..count]);
            let found = events::backward(&mut conn, ROOM, end, start, limit).await.unwrap();
            let expected: Vec<i64> = order.into_iter().rev().take(count).collect();
            assert_eq!(numbers(&found), expected);
        }
        // Between every two places, in both directions: after one, up to the other.
        for (first, one) in order.iter().enumerate() {
            for (last, other) in order.iter().enumerate() {
                let (after, up_to) =
                    (order_of(&mut conn, *one).await, order_of(&mut conn, *other).await);
                let mut expected: Vec<i64> = order.get(first + 1..=last).unwrap_or(&[]).to_vec();
                let found = events::forward(&mut conn, ROOM, after, up_to, 9).await.unwrap();
                assert_eq!(numbers(&found), expected, "after {one} up to {other}");
                let found = events::backward(&mut conn, ROOM, up_to, after, 9).await.unwrap();
                expected.reverse();
                assert_eq!(numbers(&found), expected, "from {other} back to {one}");
            }
        }
        // A position comes after everything that was fetched for it.
        for (pos, expected) in [(1, &order[..1]), (2, &order[..4]), (4, &order[..4])] {
            let up_to = Order::after(Pos(pos));
            let found = events::forward(&mut conn, ROOM, start, up_to, 9).await.unwrap();
            assert_eq!(numbers(&found), expected, "up to {pos}");
        }
        let found = events::forward(&mut conn, OTHER, start, end, 9).await.unwrap();
        assert_eq!(numbers(&found), [3]);
    }

    async fn the_newest_of_each_room(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (up_to, limit, expected) in [
            (i64::MAX, 2, vec![(ROOM, vec![8, 5]), (OTHER, vec![3])]),
            (i64::MAX, i64::MAX, vec![(ROOM, vec![8, 5, 2, 6, 7, 1]), (OTHER, vec![3])]),
            (2, 2, vec![(ROOM, vec![2, 6])]),
            (1, 9, vec![(ROOM, vec![1])]),
            (0, 9, vec![]),
            (i64::MIN, 9, vec![]),
            (i64::MAX, 0, vec![]),
        ] {
            let rooms = [OTHER, RoomNid(9), ROOM];
            let start = Order::START;
            let mut found =
                events::newest_nids(&mut conn, rooms, start, Pos(up_to), limit).await.unwrap();
            found.sort();
            // The numbers within one room come in no order.
            let found: Vec<_> = found
                .into_iter()
                .map(|(room, mut nids)| {
                    nids.sort_unstable();
                    (room, nids)
                })
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(room, mut nids)| {
                    nids.sort_unstable();
                    (room, nids.into_iter().map(EventNid).collect::<Vec<_>>())
                })
                .collect();
            assert_eq!(found, expected, "up to {up_to}, {limit}");
        }
    }

    async fn the_newest_after_a_place(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (after, up_to, limit, expected) in [
            (7, i64::MAX, 9, vec![2, 5, 6, 8]), (7, i64::MAX, 2, vec![5, 8]), (6, 2, 9, vec![2]),
            (8, i64::MAX, 9, vec![]), (5, 2, 9, vec![]),
        ] {
            let place = order_of(&mut conn, after).await;
            let found = events::newest_nids(&mut conn, [ROOM], place, Pos(up_to), limit).await;
            let mut nids: Vec<_> = found.unwrap().into_iter().flat_map(|(_, nids)| nids).collect();
            nids.sort();
            let expected: Vec<_> = expected.into_iter().map(EventNid).collect();
            assert_eq!(nids, expected, "after {after} up to {up_to}, {limit}");
        }
    }

    async fn events_that_entered_any_room_come_with_the_room(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut conn = node.store.read().await.unwrap();
        let found = events::entered(&mut conn, Pos(0), Pos(i64::MAX), 9, i64::MAX).await.unwrap();
        assert!(found.is_empty());
        drop(conn);
        // At positions 1 and 2, so that the events of `fill` are at 3 and above.
        for room in [ROOM, OTHER] {
            write(&node, sample::creation(room)).await;
        }
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let (least, most) = (i64::MIN, i64::MAX);
        for (after, up_to, limit, expected) in [
            // Including rejected and soft-failed events, but not outliers or backfill.
            (0, most, most, vec![1, 2, 3, 4, 5, 8, 9]), (3, 6, most, vec![2, 3, 4]),
            (0, most, 2, vec![1, 2]), (0, most, 0, vec![]), (6, 3, 9, vec![]),
            (least, 3, 9, vec![1]), (most, most, 9, vec![]),
        ] {
            let found = events::entered(&mut conn, Pos(after), Pos(up_to), limit, most).await;
            let found: Vec<i64> = found.unwrap().iter().map(|found| found.event.nid.0).collect();
            assert_eq!(found, expected, "after {after} up to {up_to}, {limit}");
        }
        let found = events::entered(&mut conn, Pos(4), Pos(5), 9, most).await.unwrap();
        assert_eq!((found[0].event.room, found[0].room.nid), (OTHER, OTHER));
        assert_eq!((found[0].room.room_id.as_str(), found[0].room.version.as_str()), ("!room8:test", "12"));
        assert_eq!(found[0].room.extremities, [EventNid(3)]);
        assert_eq!((found[0].room.head_pos, found[0].as_of), (Pos(5), Pos(11)));

        let json = &found[0].event.json;
        let two = i64::try_from(json.len() * 2).unwrap();
        for (bytes, texts) in [(most, 7), (two, 2), (two - 1, 1), (0, 0)] {
            let found = events::entered(&mut conn, Pos(0), Pos(most), 9, bytes).await.unwrap();
            let read = found.iter().take_while(|found| !found.event.json.is_empty()).count();
            assert_eq!((found.len(), read), (7, texts), "{bytes}");
        }
    }

    async fn events_that_wait_for_a_missing_event(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (prev, nid) in [("$a", 1), ("$a", 2), ("$b", 3), ("$a", 1), ("$A", i64::MAX)] {
            write(&node, with(|append| append.missing_prev_events.push(MissingPrevEventRow {
                prev_event_id: prev.to_owned(), event_nid: EventNid(nid),
            }))).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let mut found = events::waiting_for(&mut conn, "$a").await.unwrap();
        found.sort();
        assert_eq!(found, [EventNid(1), EventNid(2)]);
        let found = events::waiting_for(&mut conn, "$A").await.unwrap();
        assert_eq!(found, [EventNid(i64::MAX)]);
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let long = long_text();
        for (nid, text) in (1..).zip(UNUSUAL) {
            let mut append = sample::message(nid, ROOM);
            let event = &mut append.events[0];
            text.clone_into(&mut event.event_id);
            event.txn_device = Some(text.to_owned());
            event.txn_id = Some(text.to_owned());
            event.json = format!("{text}{long}");
            append.missing_prev_events.push(MissingPrevEventRow {
                prev_event_id: text.to_owned(), event_nid: EventNid(nid),
            });
            write(&node, append).await;
            let mut conn = node.store.read().await.unwrap();
            let found = events::by_ids(&mut conn, [text]).await.unwrap();
            assert_eq!(nids(&found), [nid], "{text:?}");
            assert_eq!(found[0].json, format!("{text}{long}"));
            let found = events::by_transaction(&mut conn, text, text).await.unwrap().unwrap();
            assert_eq!((found.nid.0, found.txn_id.as_deref()), (nid, Some(text)));
            let found = events::waiting_for(&mut conn, text).await.unwrap();
            assert_eq!(found, [EventNid(nid)]);
        }
        let mut conn = node.store.read().await.unwrap();
        refused(events::by_ids(&mut conn, ["$a\0b"]).await);
        refused(events::by_transaction(&mut conn, "a\0b", "c").await);
        refused(events::waiting_for(&mut conn, "$a\0b").await);
    }
}
