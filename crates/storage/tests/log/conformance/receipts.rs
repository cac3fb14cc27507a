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

async fn changed(
    conn: &mut Conn,
    reader: &ruma::UserId,
    rooms: &[i64],
    (after, up_to, limit): (i64, i64, i64),
) -> Vec<i64> {
    let rooms: Vec<RoomNid> = rooms.iter().copied().map(RoomNid).collect();
    let found = receipts::changed(conn, reader, &rooms, Pos(after), Pos(up_to), limit).await;
    found.unwrap().iter().map(|receipt| receipt.pos.0).collect()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert_eq!(receipts::find(&mut conn, RoomNid(7), READ, alice(), "").await.unwrap(), None);
        for rooms in [&[][..], &[7, 8]] {
            assert!(changed(&mut conn, alice(), rooms, (0, i64::MAX, 9)).await.is_empty());
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

    async fn a_reader_sees_what_changed_but_for_the_private_ones_of_others(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (reader, rooms, range, expected) in [
            (alice(), &[7][..], (0, i64::MAX, 9), vec![2, 3, 5, 8]),
            (bob(), &[7], (0, i64::MAX, 9), vec![2, 4, 5, 8]),
            // By room, then by age.
            (bob(), &[9, 8, 7], (0, i64::MAX, 9), vec![2, 4, 5, 8, 6, 7]),
            (alice(), &[7], (2, 5, 9), vec![3, 5]),
            (alice(), &[7, 7], (5, 2, 9), vec![]),
            (alice(), &[10], (0, i64::MAX, 9), vec![]),
            // The newest of each room.
            (alice(), &[7, 8], (0, i64::MAX, 2), vec![5, 8, 6]),
            (alice(), &[7, 8], (0, i64::MAX, 0), vec![]),
            (alice(), &[7], (i64::MIN, i64::MAX, i64::MAX), vec![2, 3, 5, 8]),
        ] {
            let found = changed(&mut conn, reader, rooms, range).await;
            assert_eq!(found, expected, "{reader} {rooms:?} {range:?}");
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
        let range = (0, i64::MAX, i64::MAX);
        let count = changed(&mut conn, alice(), &[i64::MAX], range).await.len();
        assert_eq!(count, UNUSUAL.len());
        refused(receipts::find(&mut conn, RoomNid(7), "a\0b", alice(), "").await);
        refused(receipts::find(&mut conn, RoomNid(7), "", alice(), "a\0b").await);
    }
}
