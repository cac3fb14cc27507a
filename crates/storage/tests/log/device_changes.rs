//! The stream of changes to users' devices: how it is written, and which changes are kept.

use ruma::{DeviceId, UserId, user_id};
use stoa_base::Pos;
use stoa_storage::{
    log::{Append, AppendError, DeviceChangeKind, RelPos, Stream},
    repo::device_changes::{self, DeviceChange},
};
use stoa_testing::{TestNode, both_databases};

use crate::{together, with, write};

use DeviceChangeKind::{Created, Removed, Renamed};

fn change(user_id: &UserId, device_id: &str, kind: DeviceChangeKind) -> Append {
    with(|append| append.note_device_change(user_id, <&DeviceId>::from(device_id), kind))
}

async fn all(node: &TestNode, user_id: &UserId) -> Vec<DeviceChange> {
    let mut conn = node.store.read().await.unwrap();
    let users = [user_id.as_str()];
    device_changes::changed(&mut conn, users, Pos::START, Pos(i64::MAX), i64::MAX).await.unwrap()
}

/// The position, the device, what happened, and the previous change.
fn short(changes: &[DeviceChange]) -> Vec<(i64, &str, Option<DeviceChangeKind>, Option<i64>)> {
    let short = |change: &DeviceChange| (change.pos.0, change.kind, change.prev.map(|pos| pos.0));
    let shortened = changes.iter().map(|change| (change, short(change)));
    shortened
        .map(|(change, (pos, kind, prev))| (pos, change.device_id.as_str(), kind, prev))
        .collect()
}

both_databases! {
    async fn each_change_names_its_users_previous_one(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let (alice, bob) = (user_id!("@alice:test"), user_id!("@bob:test"));
        write(&node, change(alice, "A", Created)).await;
        let mut several = change(alice, "A", Renamed);
        several.note_device_change(bob, "A".into(), Created);
        several.note_device_change(alice, "A".into(), Renamed);
        // One batch, preceded by the empty append of `together`.
        let appends = vec![several, change(bob, "A", Removed), change(alice, "🦀' \"", Created)];
        for answer in together(&node, appends).await {
            answer.unwrap();
        }
        write(&node, change(bob, "B", Created)).await;

        assert_eq!(short(&all(&node, alice).await), [
            (1, "A", Some(Created), None),
            (3, "A", Some(Renamed), Some(1)),
            (5, "A", Some(Renamed), Some(3)),
            (7, "🦀' \"", Some(Created), Some(5)),
        ]);
        assert_eq!(short(&all(&node, bob).await), [
            (4, "A", Some(Created), None), (6, "A", Some(Removed), Some(4)),
            (8, "B", Some(Created), Some(6)),
        ]);
    }

    async fn the_newest_changes_of_a_user_are_kept(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let (alice, bob) = (user_id!("@alice:test"), user_id!("@bob:test"));
        write(&node, change(bob, "B", Created)).await;
        write(&node, with(|append| {
            for n in 0..150 {
                append.note_device_change(alice, <&DeviceId>::from(format!("A{n}").as_str()), Created);
            }
        })).await;
        let kept = all(&node, alice).await;
        assert_eq!(kept.len(), 100);
        assert_eq!(short(&kept[..1]), [(52, "A50", Some(Created), Some(51))]);
        write(&node, change(alice, "A0", Removed)).await;
        let kept = all(&node, alice).await;
        assert_eq!(kept.len(), 100);
        assert_eq!(short(&kept[..1]), [(53, "A51", Some(Created), Some(52))]);
        assert_eq!(short(&kept[99..]), [(152, "A0", Some(Removed), Some(151))]);
        assert_eq!(all(&node, bob).await.len(), 1);
    }

    async fn a_change_touches_the_stream_of_its_user(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, change(user_id!("@alice:test"), "A", Created)).await;
        let mut conn = node.store.read().await.unwrap();
        let batches = stoa_storage::log::batches_after(&mut conn, Pos::START, 10).await.unwrap();
        let touched: Vec<_> = batches[0].touched.as_ref().unwrap().iter().collect();
        assert_eq!(touched, [(Stream::Devices, &user_id!("@alice:test").into())]);
    }

    async fn two_changes_at_one_position_are_refused(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut append = change(user_id!("@alice:test"), "A", Created);
        append.note_device_change(user_id!("@bob:test"), "A".into(), Created);
        append.device_changes[1].pos = RelPos(1);
        assert!(matches!(node.writer.append(append).await, Err(AppendError::Refused(_))));
    }

    async fn a_kind_that_only_a_newer_version_knows_is_read(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, change(user_id!("@alice:test"), "A", Created)).await;
        let mut conn = node.store.write().await.unwrap();
        conn.execute("UPDATE device_changes SET kind = 9", &[]).await.unwrap();
        conn.commit().await.unwrap();
        assert_eq!(short(&all(&node, user_id!("@alice:test")).await), [(1, "A", None, None)]);
    }
}
