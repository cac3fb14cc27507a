use ruma::UserId;
use stoa_base::{Pos, RoomNid};
use stoa_storage::{
    log::AccountDataRow,
    repo::account_data::{self, StoredAccountData, Usage},
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, bob, long_text, refused};
use crate::{with, write};

const GLOBAL: RoomNid = account_data::GLOBAL;

async fn set(node: &TestNode, user_id: &UserId, room_nid: RoomNid, kind: &str, content: &str) {
    let append = with(|append| {
        let pos = append.next_pos();
        append.account_data.push(AccountDataRow {
            user_id: user_id.to_string(),
            room_nid,
            kind: kind.to_owned(),
            content: content.to_owned(),
            pos,
        });
    });
    write(node, append).await;
}

/// Sets these at positions 1 to 6; the last overwrites the first.
async fn set_some(node: &TestNode) {
    for (user_id, room, kind, content) in [
        (alice(), GLOBAL, "a", "1"),
        (alice(), RoomNid(7), "a", "2"),
        (alice(), RoomNid(8), "a", "3"),
        (bob(), GLOBAL, "a", "4"),
        (alice(), GLOBAL, "b", "5"),
        (alice(), GLOBAL, "a", "6"),
    ] {
        set(node, user_id, room, kind, content).await;
    }
}

fn short(found: &[StoredAccountData]) -> Vec<(Option<i64>, &str, &str, i64)> {
    let short = |row: &StoredAccountData| (row.room.map(|room| room.0), row.pos.0);
    let rows = found.iter().map(|row| (short(row), row));
    rows.map(|((room, pos), row)| (room, row.kind.as_str(), row.content.as_str(), pos)).collect()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert_eq!(account_data::all(&mut conn, alice()).await.unwrap(), []);
        for rooms in [&[][..], &[GLOBAL, RoomNid(7)]] {
            assert_eq!(account_data::of_rooms(&mut conn, alice(), rooms).await.unwrap(), []);
            assert_eq!(account_data::bytes_of_rooms(&mut conn, alice(), rooms).await.unwrap(), 0);
        }
        let (first, last) = (Pos(i64::MIN), Pos(i64::MAX));
        assert_eq!(account_data::changed(&mut conn, alice(), first, last).await.unwrap(), []);
        assert_eq!(account_data::bytes_changed(&mut conn, alice(), first, last).await.unwrap(), 0);
        assert_eq!(account_data::find(&mut conn, alice(), None, "a").await.unwrap(), None);
        let usage = account_data::usage(&mut conn, alice(), None).await.unwrap();
        assert_eq!(usage, Usage { types: 0, bytes: 0 });
    }

    async fn account_data_is_found_by_age(db: TestDatabase) {
        let node = TestNode::start(db).await;
        set_some(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let all = account_data::all(&mut conn, alice()).await.unwrap();
        let (seven, eight) = ((Some(7), "a", "2", 2), (Some(8), "a", "3", 3));
        assert_eq!(short(&all), [seven, eight, (None, "b", "5", 5), (None, "a", "6", 6)]);
        let of_bob = account_data::all(&mut conn, bob()).await.unwrap();
        assert_eq!(short(&of_bob), [(None, "a", "4", 4)]);

        let global = [(None, "b", "5", 5), (None, "a", "6", 6)];
        for (rooms, expected) in [
            (&[GLOBAL][..], &global[..]),
            (&[RoomNid(7)], &[seven]),
            (&[RoomNid(8), RoomNid(9), RoomNid(7), RoomNid(8)], &[seven, eight]),
        ] {
            let found = account_data::of_rooms(&mut conn, alice(), rooms).await.unwrap();
            assert_eq!(short(&found), expected);
            let bytes = account_data::bytes_of_rooms(&mut conn, alice(), rooms).await.unwrap();
            assert_eq!(usize::try_from(bytes).unwrap(), 129 * found.len());
        }

        let found = account_data::find(&mut conn, alice(), None, "a").await.unwrap().unwrap();
        assert_eq!(short(&[found]), [(None, "a", "6", 6)]);
        let found = account_data::find(&mut conn, alice(), Some(RoomNid(8)), "a").await.unwrap();
        assert_eq!(short(&[found.unwrap()]), [eight]);
        for (user_id, room, kind) in
            [(bob(), Some(RoomNid(8)), "a"), (alice(), Some(RoomNid(8)), "b"), (alice(), None, "A")]
        {
            assert_eq!(account_data::find(&mut conn, user_id, room, kind).await.unwrap(), None);
        }
        for (room, types) in [(None, 2), (Some(RoomNid(7)), 1), (Some(RoomNid(9)), 0)] {
            let usage = account_data::usage(&mut conn, alice(), room).await.unwrap();
            assert_eq!(usage, Usage { types, bytes: 4 * 129 });
        }
    }

    async fn changes_are_found_after_one_position_and_up_to_another(db: TestDatabase) {
        let node = TestNode::start(db).await;
        set_some(&node).await;
        let mut conn = node.store.read().await.unwrap();
        for (after, up_to, positions) in [
            (0, 6, vec![2, 3, 5, 6]),
            (2, 5, vec![3, 5]),
            // A type that was overwritten later is found only at its later position.
            (0, 1, vec![]),
            (6, i64::MAX, vec![]),
            (i64::MIN, i64::MAX, vec![2, 3, 5, 6]),
            (5, 2, vec![]),
        ] {
            let changed = account_data::changed(&mut conn, alice(), Pos(after), Pos(up_to)).await;
            let found: Vec<i64> = changed.unwrap().iter().map(|row| row.pos.0).collect();
            assert_eq!(found, positions, "after {after} up to {up_to}");
            let (after, up_to) = (Pos(after), Pos(up_to));
            let bytes = account_data::bytes_changed(&mut conn, alice(), after, up_to).await.unwrap();
            assert_eq!(usize::try_from(bytes).unwrap(), 129 * found.len());
        }
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let room = RoomNid(i64::MAX);
        let long = long_text();
        for text in UNUSUAL.into_iter().chain([long.as_str()]) {
            let kind = &text[..text.len().min(250)];
            set(&node, alice(), room, kind, text).await;
            let mut conn = node.store.read().await.unwrap();
            let found = account_data::find(&mut conn, alice(), Some(room), kind).await.unwrap();
            assert_eq!(found.unwrap().content, text);
        }
        let mut conn = node.store.read().await.unwrap();
        let usage = account_data::usage(&mut conn, alice(), Some(room)).await.unwrap();
        let texts = UNUSUAL.len() + 1;
        let bytes = UNUSUAL.concat().len() + long.len() + texts * 128;
        let expected = (i64::try_from(texts).unwrap(), i64::try_from(bytes).unwrap());
        assert_eq!((usage.types, usage.bytes), expected);
        let of_room = account_data::bytes_of_rooms(&mut conn, alice(), &[room]).await.unwrap();
        let (first, last) = (Pos::START, Pos(i64::MAX));
        let changed = account_data::bytes_changed(&mut conn, alice(), first, last).await.unwrap();
        assert_eq!((of_room, changed), (expected.1, expected.1));
        refused(account_data::find(&mut conn, alice(), None, "a\0b").await);
    }
}
