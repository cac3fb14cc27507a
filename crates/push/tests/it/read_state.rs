//! Receipts and the fully-read marker.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ruma::{EventId, events::receipt::ReceiptThread};
use serde_json::json;
use stoa_base::{Actor, Pos};
use stoa_push::{Mark, MarkKind, ReadStateError, Receipt};
use stoa_rooms::{Room, RoomError};
use stoa_storage::{
    log::{Append, AppendError, ReceiptRow, Topic},
    repo::{account_data, receipts},
};
use stoa_testing::{Backend, both_databases, run_on};
use tokio::time::timeout;

use crate::fixture::{Fixture, actor, user};

async fn fully_read(fixture: &Fixture, room: &Room) -> Option<serde_json::Value> {
    let mut conn = fixture.node.store.read().await.unwrap();
    let data = account_data::find(&mut conn, &user("alice"), Some(room.nid), "m.fully_read").await;
    data.unwrap().map(|data| serde_json::from_str(&data.content).unwrap())
}

fn events(receipts: &[Receipt]) -> Vec<&EventId> {
    receipts.iter().map(|receipt| &*receipt.event_id).collect()
}

both_databases! {
    async fn each_reader_gets_a_receipt_once(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let event = fixture.send(&room).await;
        let before = fixture.head();
        let wait = fixture.node.waiters.register(vec![Topic::from(room.nid)]);
        fixture.read("alice", &room, &event).await;
        timeout(Duration::from_secs(5), wait.changed()).await.unwrap();

        for reader in ["alice", "bob"] {
            let receipts = fixture.receipts(reader, &room, before).await;
            let [receipt] = &receipts[..] else { panic!("{receipts:?}") };
            assert_eq!((receipt.kind.as_str(), &receipt.user_id), ("m.read", &user("alice")));
            assert_eq!((&receipt.event_id, &receipt.thread), (&event, &None));
            assert!((fixture.node.clock.now_ms() - receipt.ts).abs() < 60_000);
            assert!(receipt.pos > before && receipt.pos <= fixture.head());
            assert!(fixture.receipts(reader, &room, receipt.pos).await.is_empty());
        }
        assert!(fixture.receipts("bob", &room, Pos::START).await.len() == 1);
    }

    async fn no_mark_is_moved_through_a_session_that_has_ended(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let event = fixture.send(&room).await;
        let actor = Actor { session_id: Some("ended".to_owned()), ..actor("alice") };
        for kind in [MarkKind::Read, MarkKind::FullyRead] {
            let mark = Mark { kind, event_id: &event, thread: &ReceiptThread::Unthreaded };
            let marked = fixture.read_state.mark(&actor, &room, &[mark]).await;
            let ended = matches!(marked, Err(ReadStateError::Append(AppendError::SessionEnded)));
            assert!(ended, "{marked:?}");
        }
        assert_eq!(fixture.receipts("bob", &room, Pos::START).await, []);
    }

    async fn a_moved_receipt_is_returned_only_at_its_new_place(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let (first, second) = (fixture.send(&room).await, fixture.send(&room).await);
        fixture.read("alice", &room, &first).await;
        let between = fixture.head();
        fixture.read("alice", &room, &second).await;
        assert_eq!(events(&fixture.receipts("bob", &room, Pos::START).await), [&*second]);
        assert_eq!(events(&fixture.receipts("bob", &room, between).await), [&*second]);

        // A reader who stops at an earlier position gets the receipt with the next read.
        let rooms = [room.nid];
        let bob = user("bob");
        let earlier = fixture.read_state.receipts_changed(&bob, &rooms, Pos::START, between, i64::MAX);
        assert!(earlier.await.unwrap().is_empty());
    }

    async fn a_receipt_never_moves_back(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let (first, second) = (fixture.send(&room).await, fixture.send(&room).await);
        fixture.read("alice", &room, &second).await;
        let head = fixture.head();
        for event in [&first, &second] {
            fixture.read("alice", &room, event).await;
            assert_eq!(fixture.head(), head, "nothing is written");
        }
        assert_eq!(events(&fixture.receipts("bob", &room, Pos::START).await), [&*second]);
    }

    async fn concurrent_marks_of_one_user_end_at_the_newest(db: TestDatabase) {
        let fixture = Arc::new(Fixture::new(db).await);
        let room = fixture.room().await;
        let mut sent = Vec::new();
        for _ in 0..12 {
            sent.push(fixture.send(&room).await);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..36 {
            let (fixture, room) = (Arc::clone(&fixture), Arc::clone(&room));
            let event = sent[index * 7 % 12].clone();
            tasks.spawn(async move { fixture.read("alice", &room, &event).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(events(&fixture.receipts("bob", &room, Pos::START).await), [&*sent[11]]);
    }

    async fn private_receipts_are_visible_only_to_their_user(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let (first, second) = (fixture.send(&room).await, fixture.send(&room).await);
        fixture.read("alice", &room, &first).await;
        let private = fixture.mark("alice", &room, MarkKind::ReadPrivate, &second, None);
        private.await.unwrap();
        let own = fixture.receipts("alice", &room, Pos::START).await;
        assert_eq!(events(&own), [&*first, &*second]);
        assert_eq!(own[1].kind, "m.read.private");
        assert_eq!(events(&fixture.receipts("bob", &room, Pos::START).await), [&*first]);
    }

    async fn threads_have_separate_receipts(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let root = fixture.send(&room).await;
        let reply = fixture.relate(&room, "m.thread", &root).await;
        let after = fixture.send(&room).await;
        fixture.read("alice", &room, &after).await;
        for (event, thread) in [(&root, "main"), (&root, root.as_str()), (&reply, root.as_str())] {
            let mark = fixture.mark("alice", &room, MarkKind::Read, event, Some(thread));
            mark.await.unwrap();
        }
        let receipts = fixture.receipts("bob", &room, Pos::START).await;
        let seen: Vec<_> =
            receipts.iter().map(|it| (&*it.event_id, it.thread.as_deref())).collect();
        let expected =
            [(&*after, None), (&*root, Some("main")), (&*reply, Some(root.as_str()))];
        assert_eq!(seen, expected);
    }

    async fn an_event_can_be_marked_only_in_its_own_thread(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let root = fixture.send(&room).await;
        let reply = fixture.relate(&room, "m.thread", &root).await;
        let edit = fixture.relate(&room, "m.replace", &reply).await;
        let reaction = fixture.relate(&room, "m.annotation", &edit).await;
        let beside = fixture.relate(&room, "m.annotation", &root).await;
        let dangling = fixture.relate(&room, "m.annotation", <&EventId>::try_from("$x").unwrap()).await;
        let (main, thread) = (Some("main"), Some(root.as_str()));
        for (event, right, wrong) in [
            (&reply, thread, main),
            (&edit, thread, main),
            (&reaction, thread, main),
            (&beside, main, thread),
            (&dangling, main, thread),
        ] {
            let refused = fixture.mark("alice", &room, MarkKind::Read, event, wrong).await;
            assert!(matches!(refused, Err(ReadStateError::InvalidThread(_))), "{event}");
            fixture.mark("alice", &room, MarkKind::Read, event, right).await.unwrap();
            fixture.mark("alice", &room, MarkKind::Read, event, None).await.unwrap();
        }
        for nonsense in ["", "nonsense", "MAIN"] {
            let mark = fixture.mark("alice", &room, MarkKind::Read, &root, Some(nonsense)).await;
            assert!(matches!(mark, Err(ReadStateError::InvalidThread(_))), "{nonsense:?}");
        }
        let marker = fixture.mark("alice", &room, MarkKind::FullyRead, &root, main).await;
        assert!(matches!(marker, Err(ReadStateError::InvalidThread(_))));
    }

    async fn only_members_can_mark_events_they_see(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let (room, other) = (fixture.room().await, fixture.room().await);
        let (event, elsewhere) = (fixture.send(&room).await, fixture.send(&other).await);
        let outside = fixture.mark("carol", &room, MarkKind::Read, &event, None).await;
        assert!(matches!(outside, Err(ReadStateError::NotInRoom)));
        for unknown in [&*elsewhere, <&EventId>::try_from("$unknown").unwrap()] {
            let mark = fixture.mark("alice", &room, MarkKind::Read, unknown, None).await;
            assert!(
                matches!(mark, Err(ReadStateError::Room(RoomError::NotFound(_)))),
                "{mark:?}"
            );
        }
        assert!(fixture.receipts("alice", &room, Pos::START).await.is_empty());
    }

    async fn the_fully_read_marker_is_account_data_of_the_room(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let (first, second) = (fixture.send(&room).await, fixture.send(&room).await);
        assert_eq!(fully_read(&fixture, &room).await, None);
        let wait = fixture.node.waiters.register(vec![Topic::from(&*user("alice"))]);
        for (event, stands_at) in [(&first, &first), (&second, &second), (&first, &second)] {
            fixture.mark("alice", &room, MarkKind::FullyRead, event, None).await.unwrap();
            let content = fully_read(&fixture, &room).await;
            assert_eq!(content, Some(json!({ "event_id": stands_at })));
        }
        timeout(Duration::from_secs(5), wait.changed()).await.unwrap();
        assert!(fixture.receipts("alice", &room, Pos::START).await.is_empty());
    }

    async fn several_marks_are_one_append(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let room = fixture.room().await;
        let event = fixture.send(&room).await;
        let head = fixture.head();
        let marks = [MarkKind::FullyRead, MarkKind::Read, MarkKind::ReadPrivate]
            .map(|kind| Mark { kind, event_id: &event, thread: &ReceiptThread::Unthreaded });
        fixture.read_state.mark(&actor("alice"), &room, &marks).await.unwrap();
        assert_eq!(fixture.head(), Pos(head.0 + 3));
        assert_eq!(fixture.receipts("alice", &room, head).await.len(), 2);
        assert_eq!(fully_read(&fixture, &room).await, Some(json!({ "event_id": event })));
        fixture.read_state.mark(&actor("alice"), &room, &[]).await.unwrap();
        assert_eq!(fixture.head(), Pos(head.0 + 3));
    }

    async fn receipts_of_many_rooms_are_read_together(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let rooms = [fixture.room().await, fixture.room().await, fixture.room().await];
        for room in &rooms[..2] {
            let event = fixture.send(room).await;
            fixture.read("alice", room, &event).await;
            fixture.read("bob", room, &event).await;
        }
        let nids: Vec<_> = rooms.iter().map(|room| room.nid).collect();
        let (reader, head) = (user("carol"), fixture.head());
        let found = fixture.read_state.receipts_changed(&reader, &nids, Pos::START, head, i64::MAX);
        let found = found.await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[&nids[0]].len(), found[&nids[1]].len()), (2, 2));

        let mut conn = fixture.node.store.read().await.unwrap();
        let (alice, bob) = (user("alice").to_string(), user("bob").to_string());
        let newest = receipts::newest(&mut conn, &reader, &nids, head, 1, 9).await.unwrap();
        let users: Vec<_> = newest.into_iter().map(|row| (row.room, row.user_id)).collect();
        assert_eq!(users, [(nids[0], bob.clone()), (nids[1], bob.clone())]);
        let own = receipts::of_user(&mut conn, &user("alice"), &nids, head, 9).await.unwrap();
        let mut users: Vec<_> = own.into_iter().map(|row| (row.room, row.user_id)).collect();
        users.sort();
        assert_eq!(users, [(nids[0], alice.clone()), (nids[1], alice)]);
    }

    async fn no_receipt_is_missing_among_many(db: TestDatabase) {
        const MANY: usize = 1_700;
        let fixture = Fixture::new(db).await;
        let rooms = [fixture.room().await, fixture.room().await];
        let own = fixture.send(&rooms[0]).await;
        let since = fixture.head();
        fixture.read("bob", &rooms[0], &own).await;
        let mut append = Append::new();
        for index in 0..2 * MANY {
            let pos = append.next_pos();
            append.receipts.push(ReceiptRow {
                room_nid: rooms[index % 2].nid,
                kind: if index % 5 == 0 { "m.read.private" } else { "m.read" }.to_owned(),
                user_id: format!("@user{index}:test"),
                thread: String::new(),
                event_id: "$event".to_owned(),
                ts: 1,
                pos,
            });
        }
        fixture.node.writer.append(append).await.unwrap();
        let nids: Vec<_> = rooms.iter().map(|room| room.nid).collect();
        let (bob, head) = (user("bob"), fixture.head());
        let changed = fixture.read_state.receipts_changed(&bob, &nids, since, head, i64::MAX).await.unwrap();
        let mut users: Vec<_> = changed.values().flatten().map(|row| row.user_id.clone()).collect();
        users.sort();
        users.dedup();
        assert_eq!(users.len(), 2 * MANY * 4 / 5 + 1);
        assert!(changed[&nids[0]].is_sorted_by_key(|receipt| receipt.pos));
        // A reader who knows no receipts gets the newest ones and their own.
        let newest =
            fixture.read_state.newest_receipts(&bob, &nids, head, i64::MAX).await.unwrap();
        assert_eq!(newest[&nids[0]].len(), 1_001);
        assert_eq!(newest[&nids[0]][0].user_id, bob);
        assert_eq!(newest[&nids[1]].len(), 1_000);
        assert_eq!(newest[&nids[0]].last().unwrap().pos.0 + 1, head.0);

        // At most `most` are returned, and exactly that many if others are missing.
        let count = |found: HashMap<_, Vec<Receipt>>| found.values().map(Vec::len).sum::<usize>();
        let newcomer = user("user1699");
        for most in [0, 1, 500, 1_500, 2_000, 2_001] {
            let read_state = &fixture.read_state;
            let changed = read_state.receipts_changed(&bob, &nids, since, head, most).await;
            assert_eq!(i64::try_from(count(changed.unwrap())).unwrap(), most);
            // One reader's own receipt is older than the newest thousand, the other's is among
            // them.
            for reader in [&bob, &newcomer] {
                let newest = read_state.newest_receipts(reader, &nids, head, most).await;
                assert_eq!(i64::try_from(count(newest.unwrap())).unwrap(), most, "{reader}");
            }
        }
    }
}

#[test]
fn concurrent_marks_on_two_nodes_end_at_the_newest() {
    run_on(Backend::Postgres, async |db| {
        let (a, b) = (Fixture::new(db).await, Fixture::new(db).await);
        let room = a.room().await;
        b.node.freshness.current().await.unwrap();
        let on_b = b.rooms.known.by_id(&room.id).await.unwrap();
        for _ in 0..25 {
            let (first, second) = (a.send(&room).await, a.send(&room).await);
            b.node.freshness.current().await.unwrap();
            tokio::join!(a.read("alice", &room, &first), b.read("alice", &on_b, &second));
            a.node.freshness.current().await.unwrap();
            let receipts = a.receipts("bob", &room, Pos::START).await;
            assert_eq!(events(&receipts), [&*second]);
        }
    });
}

#[test]
fn a_mark_set_on_one_node_is_known_on_another() {
    run_on(Backend::Postgres, async |db| {
        let (a, b) = (Fixture::new(db).await, Fixture::new(db).await);
        let room = a.room().await;
        let (first, second) = (a.send(&room).await, a.send(&room).await);
        b.node.freshness.current().await.unwrap();
        let on_b = b.rooms.known.by_id(&room.id).await.unwrap();
        a.read("alice", &room, &second).await;
        b.node.freshness.current().await.unwrap();
        b.read("alice", &on_b, &first).await;
        for fixture in [&a, &b] {
            fixture.node.freshness.current().await.unwrap();
            let receipts = fixture.receipts("bob", &room, Pos::START).await;
            assert_eq!(events(&receipts), [&*second]);
        }
    });
}
