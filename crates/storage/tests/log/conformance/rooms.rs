use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::{
    log::{RoomRow, RoomUpdateRow},
    repo::rooms::{self, RoomHeadRow},
};
use stoa_testing::{TestNode, both_databases, sample};

use super::{UNUSUAL, refused};
use crate::{ROOM, with, write};

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert!(rooms::heads(&mut conn, &[]).await.unwrap().is_empty());
        assert!(rooms::heads(&mut conn, &[ROOM]).await.unwrap().is_empty());
        assert_eq!(rooms::nid(&mut conn, "!room7:test").await.unwrap(), None);
    }

    async fn every_column_of_a_head_is_read(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(RoomNid(8))).await;
        write(&node, with(|append| {
            let pos = append.next_pos();
            let later = append.next_pos();
            append.rooms.push(sample::room(ROOM));
            append.room_updates.push(RoomUpdateRow {
                room_nid: ROOM,
                added: [i64::MAX, i64::MIN, 5].map(EventNid).into(),
                consumed: vec![],
                state_root: Some(StateNid(i64::MAX)),
                state_pos: Some(pos),
                head_pos: Some(later),
                joined: i64::MAX,
                invited: i64::MIN,
            });
        })).await;
        let mut conn = node.store.read().await.unwrap();
        let head = rooms::heads(&mut conn, &[ROOM]).await.unwrap().remove(0);
        let RoomHeadRow {
            nid, room_id, version, extremities, state_root, state_pos, head_pos, joined, invited,
        } = head;
        assert_eq!((nid, room_id.as_str(), version.as_str()), (ROOM, "!room7:test", "12"));
        assert_eq!(extremities, [i64::MIN, 5, i64::MAX].map(EventNid));
        assert_eq!((state_root, state_pos, head_pos), (StateNid(i64::MAX), Pos(2), Pos(3)));
        assert_eq!((joined, invited), (i64::MAX, i64::MIN));
    }

    async fn several_rooms_by_number_and_by_id(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for room in [1, 2, 3, i64::MAX].map(RoomNid) {
            write(&node, sample::creation(room)).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let wanted = [3, 1, 9, 1, i64::MAX].map(RoomNid);
        let heads = rooms::heads(&mut conn, &wanted).await.unwrap();
        let mut found: Vec<i64> = heads.iter().map(|head| head.nid.0).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 3, i64::MAX]);
        for (room_id, nid) in [("!room2:test", Some(RoomNid(2))), ("!ROOM2:test", None)] {
            assert_eq!(rooms::nid(&mut conn, room_id).await.unwrap(), nid);
        }
    }

    async fn heads_with_the_end_of_the_log(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut conn = node.store.read().await.unwrap();
        assert!(rooms::heads_as_of(&mut conn, &[ROOM]).await.unwrap().is_empty());
        drop(conn);
        for room in [1, 2, i64::MAX].map(RoomNid) {
            write(&node, sample::creation(room)).await;
        }
        let mut conn = node.store.read().await.unwrap();
        assert!(rooms::heads_as_of(&mut conn, &[]).await.unwrap().is_empty());
        let wanted = [i64::MAX, 1, 1, 9].map(RoomNid);
        let found = rooms::heads_as_of(&mut conn, &wanted).await.unwrap();
        let mut found: Vec<_> =
            found.iter().map(|(head, as_of)| (head.nid.0, head.head_pos.0, as_of.0)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 1, 3), (i64::MAX, 3, 3)]);
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (nid, text) in (1..).zip(UNUSUAL) {
            write(&node, with(|append| append.rooms.push(RoomRow {
                nid: RoomNid(nid),
                room_id: text.to_owned(),
                version: text.to_owned(),
                created_ms: i64::MIN,
            }))).await;
            let mut conn = node.store.read().await.unwrap();
            assert_eq!(rooms::nid(&mut conn, text).await.unwrap(), Some(RoomNid(nid)));
            let head = rooms::heads(&mut conn, &[RoomNid(nid)]).await.unwrap().remove(0);
            assert_eq!((head.room_id.as_str(), head.version.as_str()), (text, text));
        }
        refused(rooms::nid(&mut node.store.read().await.unwrap(), "!a\0b:test").await);
    }
}
