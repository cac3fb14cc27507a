use stoa_base::{Pos, RoomNid};
use stoa_storage::{
    Conn,
    log::ReceiptRow,
    repo::receipts::{self, StoredReceipt},
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, bob, refused};
use crate::{with, write};

const READ: &str = "m.read";
const PRIVATE: &str = "m.read.private";

async fn set(node: &TestNode, room: i64, kind: &str, user_id: &str, thread: &str, event_id: &str) {
    write(
        node,
        with(|append| {
            let pos = append.next_pos();
            append.receipts.push(ReceiptRow {
                room_nid: RoomNid(room),
                kind: kind.to_owned(),
                user_id: user_id.to_owned(),
                thread: thread.to_owned(),
                event_id: event_id.to_owned(),
                ts: i64::MAX,
                pos,
            });
        }),
    )
    .await;
}

/// At positions 1 to 8; the last overwrites the first.
async fn fill(node: &TestNode) {
    for (room, kind, user_id, thread) in [
        (7, READ, alice(), ""),
        (7, READ, bob(), ""),
        (7, PRIVATE, alice(), ""),
        (7, PRIVATE, bob(), ""),
        (7, READ, alice(), "main"),
        (8, READ, alice(), ""),
        (9, READ, bob(), ""),
        (7, READ, alice(), ""),
    ] {
        set(node, room, kind, user_id.as_str(), thread, "$event").await;
    }
}

fn rooms(rooms: &[i64]) -> Vec<RoomNid> {
    rooms.iter().copied().map(RoomNid).collect()
}

fn positions(found: &[StoredReceipt]) -> Vec<i64> {
    found.iter().map(|receipt| receipt.pos.0).collect()
}

async fn changed(
    conn: &mut Conn,
    reader: &ruma::UserId,
    of: &[i64],
    (after, up_to): (i64, i64),
) -> Vec<i64> {
    let (rooms, after, up_to) = (rooms(of), Pos(after), Pos(up_to));
    let found = receipts::changed(conn, reader, &rooms, after, up_to, i64::MAX).await.unwrap();
    for limit in 0..=found.len() {
        let most = i64::try_from(limit).unwrap();
        let first = receipts::changed(conn, reader, &rooms, after, up_to, most).await.unwrap();
        assert_eq!(first, found[..limit]);
    }
    positions(&found)
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert_eq!(receipts::find(&mut conn, RoomNid(7), READ, alice(), "").await.unwrap(), None);
        for of in [&[][..], &[7, 8]] {
            assert!(changed(&mut conn, alice(), of, (0, i64::MAX)).await.is_empty());
            let (rooms, last) = (rooms(of), Pos(i64::MAX));
            let newest = receipts::newest(&mut conn, alice(), &rooms, last, 9, 9).await;
            assert_eq!(newest.unwrap(), []);
            assert_eq!(receipts::of_user(&mut conn, alice(), &rooms, last, 9).await.unwrap(), []);
        }
    }

    async fn one_receipt_for_each_kind_user_and_thread(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (room, kind, user_id, thread, pos) in [
            (7, READ, alice(), "", Some(8)),
            (7, READ, alice(), "main", Some(5)),
            (7, READ, alice(), "Main", None),
            (7, PRIVATE, alice(), "", Some(3)),
            (7, READ, bob(), "", Some(2)),
            (8, READ, bob(), "", None),
            (10, READ, bob(), "", None),
        ] {
            let found = receipts::find(&mut conn, RoomNid(room), kind, user_id, thread).await.unwrap();
            let expected = pos.map(|pos| StoredReceipt {
                room: RoomNid(room),
                kind: kind.to_owned(),
                user_id: user_id.to_string(),
                thread: thread.to_owned(),
                event_id: "$event".to_owned(),
                ts: i64::MAX,
                pos: Pos(pos),
            });
            assert_eq!(found, expected);
        }
    }

    async fn a_reader_sees_changes_except_the_private_receipts_of_others(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (reader, of, range, expected) in [
            (alice(), &[7][..], (0, i64::MAX), vec![2, 3, 5, 8]),
            (bob(), &[7], (0, i64::MAX), vec![2, 4, 5, 8]),
            // By room, then by age.
            (bob(), &[9, 8, 7], (0, i64::MAX), vec![2, 4, 5, 8, 6, 7]),
            (alice(), &[7], (2, 5), vec![3, 5]),
            (alice(), &[7, 7], (5, 2), vec![]),
            (alice(), &[10], (0, i64::MAX), vec![]),
            (alice(), &[7], (i64::MIN, i64::MAX), vec![2, 3, 5, 8]),
        ] {
            let found = changed(&mut conn, reader, of, range).await;
            assert_eq!(found, expected, "{reader} {of:?} {range:?}");
        }
    }

    async fn the_newest_of_each_room_as_a_reader_sees_them(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (reader, of, up_to, limit, expected) in [
            (alice(), &[8, 7][..], i64::MAX, 2, vec![5, 8, 6]),
            (bob(), &[7], i64::MAX, 3, vec![4, 5, 8]),
            (alice(), &[7], 5, 2, vec![3, 5]),
            (alice(), &[7], i64::MAX, 4, vec![2, 3, 5, 8]),
            (alice(), &[7, 10], i64::MAX, i64::MAX, vec![2, 3, 5, 8]),
            (alice(), &[7], i64::MAX, 0, vec![]),
            (alice(), &[7], i64::MIN, 9, vec![]),
            (alice(), &[], i64::MAX, 9, vec![]),
        ] {
            for in_all in [i64::MAX, 2, 0] {
                let (rooms, up_to) = (rooms(of), Pos(up_to));
                let found = receipts::newest(&mut conn, reader, &rooms, up_to, limit, in_all).await;
                let first = expected.iter().copied().take(usize::try_from(in_all).unwrap());
                let first: Vec<i64> = first.collect();
                assert_eq!(positions(&found.unwrap()), first, "{reader} {of:?} {up_to} {limit}");
            }
        }
    }

    async fn the_receipts_of_one_user(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (user_id, of, up_to, expected) in [
            (alice(), &[7, 8, 7][..], i64::MAX, vec![3, 5, 6, 8]),
            (alice(), &[7], 5, vec![3, 5]),
            (bob(), &[7], i64::MAX, vec![2, 4]),
            (bob(), &[8], i64::MAX, vec![]),
            (bob(), &[], i64::MAX, vec![]),
        ] {
            let (rooms, up_to) = (rooms(of), Pos(up_to));
            let one = receipts::of_user(&mut conn, user_id, &rooms, up_to, 1).await.unwrap();
            assert_eq!(one.len(), expected.len().min(1));
            let found = receipts::of_user(&mut conn, user_id, &rooms, up_to, i64::MAX).await;
            let mut found = positions(&found.unwrap());
            found.sort_unstable();
            assert_eq!(found, expected, "{user_id} {of:?} {up_to}");
        }
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for text in UNUSUAL {
            set(&node, i64::MAX, text, "@alice:test", text, text).await;
            let mut conn = node.store.read().await.unwrap();
            let room = RoomNid(i64::MAX);
            let found = receipts::find(&mut conn, room, text, alice(), text).await.unwrap();
            assert_eq!(found.unwrap().event_id, text);
        }
        let mut conn = node.store.read().await.unwrap();
        let count = changed(&mut conn, alice(), &[i64::MAX], (0, i64::MAX)).await.len();
        assert_eq!(count, UNUSUAL.len());
        refused(receipts::find(&mut conn, RoomNid(7), "a\0b", alice(), "").await);
        refused(receipts::find(&mut conn, RoomNid(7), "", alice(), "a\0b").await);
    }
}
