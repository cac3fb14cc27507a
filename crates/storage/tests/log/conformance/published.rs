use stoa_base::{RoomNid, StateNid};
use stoa_storage::{
    Conn,
    repo::published::{self, Place},
};
use stoa_testing::{TestNode, both_databases, sample};

use crate::{with, write};

/// Rooms 1 to 6 with these numbers of joined members, all but 2 on the list. From the top: 5, 4, 1,
/// 6; nobody is in 3.
async fn fill(node: &TestNode) {
    for (nid, joined) in [(1, 2), (2, 9), (3, 0), (4, 5), (5, 5), (6, 1)] {
        let room = RoomNid(nid);
        let mut append = sample::creation(room);
        append.room_updates[0].joined = joined;
        append.room_updates[0].state_root = Some(StateNid(nid * 10));
        write(node, append).await;
        if nid != 2 {
            let mut conn = node.store.write().await.unwrap();
            published::publish(&mut conn, room).await.unwrap();
            conn.commit().await.unwrap();
        }
    }
}

const ORDER: [i64; 4] = [5, 4, 1, 6];

async fn below(conn: &mut Conn, place: Place, limit: i64) -> Vec<i64> {
    let found = published::below(conn, place, limit).await.unwrap();
    found.iter().map(|row| row.place.room.0).collect()
}

async fn from_and_above(conn: &mut Conn, place: Place, limit: i64) -> Vec<i64> {
    let found = published::from_and_above(conn, place, limit).await.unwrap();
    found.iter().map(|row| row.place.room.0).collect()
}

const BOTTOM: Place = Place { joined: i64::MIN, room: RoomNid(i64::MIN) };

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(!published::is_published(&mut conn, RoomNid(1)).await.unwrap());
        published::withdraw(&mut conn, RoomNid(1)).await.unwrap();
        // A room that is published before it exists is not listed.
        published::publish(&mut conn, RoomNid(i64::MAX)).await.unwrap();
        assert_eq!(published::count(&mut conn).await.unwrap(), 0);
        assert!(below(&mut conn, Place::TOP, 9).await.is_empty());
        assert!(from_and_above(&mut conn, BOTTOM, 9).await.is_empty());
    }

    async fn a_room_is_published_and_withdrawn(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for room in [1, 1, i64::MIN, i64::MAX].map(RoomNid) {
            published::publish(&mut conn, room).await.unwrap();
            assert!(published::is_published(&mut conn, room).await.unwrap());
        }
        assert!(!published::is_published(&mut conn, RoomNid(2)).await.unwrap());
        published::withdraw(&mut conn, RoomNid(1)).await.unwrap();
        published::withdraw(&mut conn, RoomNid(1)).await.unwrap();
        assert!(!published::is_published(&mut conn, RoomNid(1)).await.unwrap());
        assert!(published::is_published(&mut conn, RoomNid(i64::MAX)).await.unwrap());
    }

    async fn the_list_goes_down_and_up(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        assert_eq!(published::count(&mut conn).await.unwrap(), 4);
        assert!(published::is_published(&mut conn, RoomNid(3)).await.unwrap());
        for (limit, count) in [(0, 0), (1, 1), (3, 3), (4, 4), (i64::MAX, 4)] {
            assert_eq!(below(&mut conn, Place::TOP, limit).await, ORDER[..count]);
            let up: Vec<i64> = ORDER.into_iter().rev().take(count).collect();
            assert_eq!(from_and_above(&mut conn, BOTTOM, limit).await, up);
        }
        let rows = published::below(&mut conn, Place::TOP, 9).await.unwrap();
        for (index, row) in rows.iter().enumerate() {
            let nid = row.place.room.0;
            let (room_id, state) = (format!("!room{nid}:test"), StateNid(nid * 10));
            assert_eq!((&row.room_id, row.state), (&room_id, state));
            assert_eq!(below(&mut conn, row.place, 9).await, ORDER[index + 1..]);
            let up: Vec<i64> = ORDER[..=index].iter().rev().copied().collect();
            assert_eq!(from_and_above(&mut conn, row.place, 9).await, up, "at it and above");
            let up: Vec<i64> = ORDER[..index].iter().rev().copied().collect();
            assert_eq!(from_and_above(&mut conn, row.place.above(), 9).await, up);
        }
    }

    async fn the_largest_numbers(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let room = RoomNid(i64::MAX);
        let mut append = sample::creation(room);
        append.room_updates[0].joined = i64::MAX;
        write(&node, append).await;
        write(&node, with(|append| append.rooms.push(sample::room(RoomNid(1))))).await;
        let mut conn = node.store.write().await.unwrap();
        published::publish(&mut conn, room).await.unwrap();
        published::publish(&mut conn, RoomNid(1)).await.unwrap();
        assert_eq!(from_and_above(&mut conn, BOTTOM, 9).await, [i64::MAX]);
        assert_eq!(from_and_above(&mut conn, Place::TOP, 9).await, [i64::MAX]);
        assert!(below(&mut conn, Place::TOP, 9).await.is_empty());
    }
}
