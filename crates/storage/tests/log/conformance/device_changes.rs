use ruma::UserId;
use stoa_base::Pos;
use stoa_storage::{
    Conn,
    log::DeviceChangeKind::{self, Created, Removed, Renamed},
    repo::device_changes::{self, DeviceChange},
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, bob, refused};
use crate::{with, write};

async fn note(node: &TestNode, user_id: &UserId, device_id: &str, kind: DeviceChangeKind) {
    write(node, with(|append| append.note_device_change(user_id, device_id.into(), kind))).await;
}

fn change(pos: i64, user_id: &UserId, device_id: &str, kind: DeviceChangeKind) -> DeviceChange {
    DeviceChange {
        pos: Pos(pos),
        user_id: user_id.to_owned(),
        device_id: device_id.into(),
        kind: Some(kind),
        prev: None,
    }
}

fn after(prev: i64, change: DeviceChange) -> DeviceChange {
    DeviceChange { prev: Some(Pos(prev)), ..change }
}

async fn positions(
    conn: &mut Conn,
    users: &[&UserId],
    after: i64,
    up_to: i64,
    limit: i64,
) -> Vec<i64> {
    let users = users.iter().map(|user_id| user_id.as_str());
    let found = device_changes::changed(conn, users, Pos(after), Pos(up_to), limit).await.unwrap();
    found.iter().map(|change| change.pos.0).collect()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        for users in [vec![], vec![alice(), bob()]] {
            assert!(positions(&mut conn, &users, i64::MIN, i64::MAX, i64::MAX).await.is_empty());
            let users = users.iter().map(|user_id| user_id.as_str());
            assert_eq!(device_changes::latest(&mut conn, users).await.unwrap(), []);
        }
    }

    async fn changes_come_in_order_and_limited(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (user_id, device_id, kind) in [
            (alice(), "A", Created), (bob(), "A", Created), (alice(), "A", Renamed),
            (alice(), "B", Created), (bob(), "A", Removed),
        ] {
            note(&node, user_id, device_id, kind).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let users = [alice().as_str(), "@carol:test", alice().as_str()];
        let found = device_changes::changed(&mut conn, users, Pos::START, Pos(9), 9).await.unwrap();
        assert_eq!(found, [
            change(1, alice(), "A", Created),
            after(1, change(3, alice(), "A", Renamed)),
            after(3, change(4, alice(), "B", Created)),
        ]);
        let both = [alice(), bob()];
        for (users, from, up_to, limit, expected) in [
            (&both[..], 0, i64::MAX, i64::MAX, vec![1, 2, 3, 4, 5]),
            (&both[..], 0, i64::MAX, 2, vec![1, 2]),
            // The next page begins after the last.
            (&both[..], 2, i64::MAX, 2, vec![3, 4]),
            (&both[..], 1, 4, 9, vec![2, 3, 4]),
            (&both[1..], 2, 5, 9, vec![5]),
            (&both[..], 0, 5, 0, vec![]),
            (&both[..], 5, i64::MAX, 9, vec![]),
            (&[], 0, 5, 9, vec![]),
        ] {
            let found = positions(&mut conn, users, from, up_to, limit).await;
            assert_eq!(found, expected, "{users:?} after {from} up to {up_to}, {limit}");
        }
    }

    async fn the_latest_change_of_each_user(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (user_id, device_id, kind) in [
            (alice(), "A", Created), (bob(), "A", Created), (alice(), "A", Removed),
        ] {
            note(&node, user_id, device_id, kind).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let users = [alice().as_str(), bob().as_str(), "@carol:test", alice().as_str()];
        let mut found = device_changes::latest(&mut conn, users).await.unwrap();
        found.sort_by_key(|change| change.pos);
        let of_alice = after(1, change(3, alice(), "A", Removed));
        assert_eq!(found, [change(2, bob(), "A", Created), of_alice.clone()]);
        let found = device_changes::latest(&mut conn, [alice().as_str()]).await.unwrap();
        assert_eq!(found, [of_alice]);
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for text in UNUSUAL {
            note(&node, alice(), text, Created).await;
            let mut conn = node.store.read().await.unwrap();
            let found = device_changes::latest(&mut conn, [alice().as_str()]).await.unwrap();
            assert_eq!(found[0].device_id.as_str(), text);
        }
        let mut conn = node.store.read().await.unwrap();
        assert_eq!(device_changes::latest(&mut conn, UNUSUAL).await.unwrap(), []);
        assert_eq!(
            device_changes::changed(&mut conn, UNUSUAL, Pos(0), Pos(9), 9).await.unwrap(), [],
        );
        refused(device_changes::latest(&mut conn, ["@a\0:test"]).await);
        refused(device_changes::changed(&mut conn, ["@a\0:test"], Pos(0), Pos(9), 9).await);
    }
}
