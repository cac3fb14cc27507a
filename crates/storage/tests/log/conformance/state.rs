use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::{
    Conn,
    log::{StateChangeRow, StateNodeRow},
    repo::state::{self, StateChange},
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, refused};
use crate::{ROOM, with, write};

const OTHER: RoomNid = RoomNid(8);

async fn change(
    node: &TestNode,
    room_nid: RoomNid,
    entries: &[(&str, &str, Option<i64>, Option<i64>)],
) {
    write(
        node,
        with(|append| {
            let pos = append.next_pos();
            for (kind, state_key, old, new) in entries {
                append.state_changes.push(StateChangeRow {
                    room_nid,
                    pos,
                    kind: (*kind).to_owned(),
                    state_key: (*state_key).to_owned(),
                    old_nid: old.map(EventNid),
                    new_nid: new.map(EventNid),
                });
            }
        }),
    )
    .await;
}

/// At positions 1 to 5.
async fn fill(node: &TestNode) {
    change(node, ROOM, &[("topic", "", None, Some(1))]).await;
    change(
        node,
        ROOM,
        &[
            ("topic", "", Some(1), Some(2)),
            ("member", "b", None, Some(3)),
            ("member", "a", None, Some(4)),
            ("member", "B", None, Some(5)),
        ],
    )
    .await;
    change(node, OTHER, &[("topic", "", None, Some(6))]).await;
    change(node, ROOM, &[("topic", "key", None, Some(7))]).await;
    change(node, ROOM, &[("topic", "", Some(2), None)]).await;
}

type Short<'a> = (i64, &'a str, &'a str, Option<i64>, Option<i64>);

fn short(found: &[StateChange]) -> Vec<Short<'_>> {
    let short = |change: &StateChange| (change.old.map(|nid| nid.0), change.new.map(|nid| nid.0));
    let parts = found.iter().map(|change| (change, short(change)));
    parts
        .map(|(change, (old, new))| {
            (change.pos.0, change.kind.as_str(), change.state_key.as_str(), old, new)
        })
        .collect()
}

/// The changes of one room.
async fn changes(conn: &mut Conn, room: RoomNid, after: Pos, up_to: Pos) -> Vec<StateChange> {
    let found = state::changes_in_rooms(conn, [room], after, up_to, i64::MAX).await.unwrap();
    assert!(found.iter().all(|(of, _)| *of == room));
    found.into_iter().map(|(_, change)| change).collect()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert_eq!(state::nodes(&mut conn, &[]).await.unwrap(), []);
        assert_eq!(state::nodes(&mut conn, &[StateNid(1)]).await.unwrap(), []);
        let (first, last) = (Pos(i64::MIN), Pos(i64::MAX));
        assert_eq!(changes(&mut conn, ROOM, first, last).await, []);
        assert_eq!(state::changes_of_entry(&mut conn, ROOM, "topic", "").await.unwrap(), []);
        let found = state::changes_of_entry_in_rooms(&mut conn, [ROOM], "topic", "", first).await;
        assert_eq!(found.unwrap(), []);
    }

    async fn nodes_are_bytes(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        write(&node, with(|append| {
            for (nid, node) in [(1, ""), (2, "00"), (3, "ff00FF"), (i64::MAX, &hex)] {
                append.state_nodes.push(StateNodeRow { nid: StateNid(nid), node: node.to_owned() });
            }
        })).await;
        let mut conn = node.store.read().await.unwrap();
        let wanted = [i64::MAX, 3, 1, 9, 3].map(StateNid);
        let mut found = state::nodes(&mut conn, &wanted).await.unwrap();
        found.sort();
        let expected =
            [(1, vec![]), (3, vec![255, 0, 255]), (i64::MAX, bytes)].map(|(nid, node)| (StateNid(nid), node));
        assert_eq!(found, expected);
    }

    async fn the_changes_of_a_room_in_order(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let all = [
            (1, "topic", "", None, Some(1)),
            // Those at one position by type and key.
            (2, "member", "B", None, Some(5)),
            (2, "member", "a", None, Some(4)),
            (2, "member", "b", None, Some(3)),
            (2, "topic", "", Some(1), Some(2)),
            (4, "topic", "key", None, Some(7)),
            (5, "topic", "", Some(2), None),
        ];
        for (after, up_to, expected) in [
            (0, i64::MAX, &all[..]), (1, 4, &all[1..6]), (2, 3, &[]), (5, i64::MAX, &[]),
            (4, 2, &[]), (i64::MIN, 1, &all[..1]),
        ] {
            let found = changes(&mut conn, ROOM, Pos(after), Pos(up_to)).await;
            assert_eq!(short(&found), expected, "after {after} up to {up_to}");
        }
        let found = changes(&mut conn, OTHER, Pos(0), Pos(9)).await;
        assert_eq!(short(&found), [(3, "topic", "", None, Some(6))]);
    }

    async fn the_changes_of_several_rooms(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let both = [OTHER, ROOM, ROOM, RoomNid(9)];
        for (rooms, after, up_to, limit, expected) in [
            (&both[..], 0, i64::MAX, i64::MAX, vec![1, 2, 2, 2, 2, 3, 4, 5]),
            (&both, 2, 4, 9, vec![3, 4]), (&both, 0, 9, 2, vec![1, 2]), (&both, 0, 9, 0, vec![]),
            (&both[..1], i64::MIN, 9, 9, vec![3]), (&[], 0, 9, 9, vec![]), (&both, 4, 2, 9, vec![]),
        ] {
            let rooms = rooms.iter().copied();
            let found =
                state::changes_in_rooms(&mut conn, rooms, Pos(after), Pos(up_to), limit).await;
            let found: Vec<i64> = found
                .unwrap()
                .iter()
                .map(|(room, change)| {
                    assert_eq!(*room == OTHER, change.pos == Pos(3));
                    change.pos.0
                })
                .collect();
            assert_eq!(found, expected, "after {after} up to {up_to}, {limit}");
        }
    }

    async fn the_changes_of_one_entry(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let topic = [
            (1, "topic", "", None, Some(1)), (2, "topic", "", Some(1), Some(2)),
            (5, "topic", "", Some(2), None),
        ];
        let found = state::changes_of_entry(&mut conn, ROOM, "topic", "").await.unwrap();
        assert_eq!(short(&found), topic);
        for (kind, key) in [("Topic", ""), ("topic", "KEY"), ("member", "")] {
            assert_eq!(state::changes_of_entry(&mut conn, ROOM, kind, key).await.unwrap(), []);
        }
        for (rooms, after, expected) in [
            (vec![OTHER, ROOM, RoomNid(9), ROOM], 0, vec![(ROOM, 1), (ROOM, 2), (OTHER, 3), (ROOM, 5)]),
            (vec![OTHER, ROOM], 2, vec![(OTHER, 3), (ROOM, 5)]),
            (vec![OTHER], 3, vec![]),
            (vec![], 0, vec![]),
        ] {
            let found =
                state::changes_of_entry_in_rooms(&mut conn, rooms, "topic", "", Pos(after)).await;
            let found: Vec<_> =
                found.unwrap().iter().map(|(room, change)| (*room, change.pos.0)).collect();
            assert_eq!(found, expected, "after {after}");
        }
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let room = RoomNid(i64::MAX);
        for text in UNUSUAL {
            change(&node, room, &[(text, text, Some(i64::MIN), Some(i64::MAX))]).await;
            let mut conn = node.store.read().await.unwrap();
            let found = state::changes_of_entry(&mut conn, room, text, text).await.unwrap();
            assert_eq!((found[0].old, found[0].new), (Some(EventNid(i64::MIN)), Some(EventNid(i64::MAX))));
            let in_rooms =
                state::changes_of_entry_in_rooms(&mut conn, [room], text, text, Pos(0)).await;
            assert_eq!(in_rooms.unwrap(), [(room, found[0].clone())]);
        }
        let mut conn = node.store.read().await.unwrap();
        let all = changes(&mut conn, room, Pos(0), Pos(i64::MAX)).await;
        assert_eq!(all.len(), UNUSUAL.len());
        refused(state::changes_of_entry(&mut conn, room, "a\0b", "").await);
        refused(state::changes_of_entry_in_rooms(&mut conn, [room], "", "a\0b", Pos(0)).await);
    }
}
