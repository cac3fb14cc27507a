//! What the log accepts, and what it refuses before anything is written.

use stoa_base::{EventNid, RoomNid};
use stoa_storage::log::{
    Append, AppendError, DeviceRemovalRow, ForgottenRoomRow, Guard, MissingPrevEventRow,
    RedactionRow, TokenRemovalRow, WriterOptions,
};
use stoa_testing::{TestNode, TestNodeOptions, both_databases, sample};

use crate::{ROOM, hold, with, write};

async fn limited(db: &stoa_testing::TestDatabase, writer: WriterOptions) -> TestNode {
    TestNode::start_with(db, TestNodeOptions { writer, ..TestNodeOptions::default() }).await
}

both_databases! {
    async fn a_full_queue_refuses_and_loses_nothing(db: TestDatabase) {
        let node = limited(db, WriterOptions { queue: 3, ..WriterOptions::default() }).await;
        let held = hold(&node).await;
        let first = node.writer.enqueue(Append::new()).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let queued: Vec<_> =
            (1..=3).map(|nid| node.writer.enqueue(sample::message(nid, ROOM)).unwrap()).collect();
        let refused = node.writer.enqueue(sample::message(4, ROOM));
        assert!(matches!(refused, Err(AppendError::Busy)));
        drop(held);
        first.wait().await.unwrap();
        for pending in queued {
            pending.wait().await.unwrap();
        }
        write(&node, sample::message(4, ROOM)).await;
    }

    async fn a_queue_with_too_many_bytes_refuses_until_they_are_written(db: TestDatabase) {
        let node = limited(db, WriterOptions { queue_bytes: 20_000, ..WriterOptions::default() }).await;
        let large = |nid| {
            let mut append = sample::message(nid, ROOM);
            append.events[0].json = format!("{{\"body\":\"{}\"}}", "x".repeat(15_000));
            append
        };
        for nid in 1..=5 {
            write(&node, large(nid)).await;
        }
        let held = hold(&node).await;
        let first = node.writer.enqueue(Append::new()).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let queued = node.writer.enqueue(large(6)).unwrap();
        assert!(matches!(node.writer.enqueue(large(7)), Err(AppendError::Busy)));
        drop(held);
        first.wait().await.unwrap();
        queued.wait().await.unwrap();
        write(&node, large(7)).await;
    }

    async fn appends_that_do_not_fit_into_a_batch_go_into_the_next(db: TestDatabase) {
        let limits = WriterOptions { batch_appends: 4, ..WriterOptions::default() };
        let node = limited(db, limits).await;
        let held = hold(&node).await;
        let first = node.writer.enqueue(Append::new()).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let queued: Vec<_> =
            (1..=10).map(|nid| node.writer.enqueue(sample::message(nid, ROOM)).unwrap()).collect();
        drop(held);
        first.wait().await.unwrap();
        let mut lasts = Vec::new();
        for pending in queued {
            lasts.push(pending.wait().await.unwrap().last().0);
        }
        assert_eq!(lasts, [5, 5, 5, 5, 9, 9, 9, 9, 11, 11]);
    }

    async fn text_that_one_database_cannot_store_is_refused_in_every_table(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let user_id = || "@a:test".to_owned();
        let with_null = || "a\0b".to_owned();
        let too_long = || "x".repeat(513);
        let appends = [
            with(|append| append.forgotten_rooms.push(ForgottenRoomRow {
                user_id: with_null(), room_nid: ROOM,
            })),
            with(|append| append.device_removals.push(DeviceRemovalRow {
                user_id: user_id(), device_id: with_null(),
            })),
            with(|append| append.device_removals.push(DeviceRemovalRow {
                user_id: too_long(), device_id: "A".to_owned(),
            })),
            with(|append| append.token_removals.push(TokenRemovalRow {
                user_id: "@a:test".to_owned(), token_hash: with_null(), successor: "B".to_owned(),
            })),
            with(|append| append.token_removals.push(TokenRemovalRow {
                user_id: "@a:test".to_owned(), token_hash: "A".to_owned(), successor: with_null(),
            })),
            with(|append| append.guards.push(Guard::Session(with_null()))),
            with(|append| append.redactions.push(RedactionRow {
                nid: EventNid(1), redacted_by: EventNid(2), json: with_null(),
            })),
        ];
        for append in appends {
            let said = format!("{append:?}");
            // Refused before it shares a batch with others.
            let refused = node.writer.enqueue(append).map(|_| ());
            assert!(matches!(refused, Err(AppendError::Refused(_))), "{said}");
        }
    }

    async fn rows_of_every_table_count_for_the_queue(db: TestDatabase) {
        let node = limited(db, WriterOptions { queue_bytes: 20_000, ..WriterOptions::default() }).await;
        let device = |n: i64| DeviceRemovalRow { user_id: "@a:test".to_owned(), device_id: n.to_string() };
        let token = |n: i64| TokenRemovalRow {
            user_id: "@a:test".to_owned(), token_hash: n.to_string(), successor: "B".to_owned(),
        };
        let room = |n| ForgottenRoomRow { user_id: "@a:test".to_owned(), room_nid: RoomNid(n) };
        let missing = |n: i64| MissingPrevEventRow {
            prev_event_id: format!("${n}"), event_nid: EventNid(n),
        };
        let appends = [
            with(|append| append.device_removals.extend((1..=1_000).map(device))),
            with(|append| append.token_removals.extend((1..=1_000).map(token))),
            with(|append| append.forgotten_rooms.extend((1..=1_000).map(room))),
            with(|append| append.missing_prev_events.extend((1..=1_000).map(missing))),
            with(|append| append.rooms.extend((1..=1_000).map(|n| sample::room(RoomNid(n))))),
            with(|append| {
                append.room_updates.extend((1..=1_000).map(|n| sample::room_update(RoomNid(n))));
            }),
        ];
        for append in appends {
            let refused = node.writer.enqueue(append).map(|_| ());
            assert!(matches!(refused, Err(AppendError::Busy)), "{refused:?}");
        }
    }

    async fn identifiers_that_one_database_cannot_store_are_refused_on_both(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut with_null = sample::message(1, ROOM);
        with_null.events[0].state_key = Some("a\0b".to_owned());
        let mut too_long = sample::message(2, ROOM);
        too_long.events[0].txn_id = Some("x".repeat(513));
        for append in [with_null, too_long] {
            assert!(matches!(node.writer.append(append).await, Err(AppendError::Refused(_))));
        }
        // The longest allowed text fits into every index, even if it cannot be compressed.
        let random = |length| stoa_base::Random::system().alphanumeric(length);
        let mut longest = sample::state_change(3, ROOM);
        for event in &mut longest.events {
            event.event_id = random(512);
            event.kind = random(512);
            event.state_key = Some(random(512));
            event.txn_device = Some(random(512));
            event.txn_id = Some(random(512));
        }
        let user_id = ruma::UserId::parse(format!("@{}:test", random(200))).unwrap();
        let mut receipt = sample::receipt(ROOM, &user_id, "$event");
        receipt.receipts[0].user_id = random(512);
        receipt.receipts[0].kind = random(512);
        receipt.receipts[0].thread = random(512);
        let membership = sample::membership(3, ROOM, &random(512), &random(512));
        for append in [longest, receipt, membership] {
            write(&node, append).await;
        }
    }

    async fn a_writer_ends_when_its_last_clone_is_dropped(db: TestDatabase) {
        let store = db.store().await;
        let waiters = stoa_testing::stoa_cluster::Waiters::default();
        let tailer = stoa_testing::stoa_cluster::Tailer::start(store.clone(), Vec::new(), waiters).await.unwrap();
        let clock = stoa_base::Clock::system();
        let options = WriterOptions::default();
        let (writer, task) = stoa_storage::log::Writer::spawn(store, 9, clock, tailer, options);
        let pending = writer.enqueue(sample::message(1, ROOM)).unwrap();
        drop(writer);
        task.await.unwrap();
        pending.wait().await.unwrap();
    }
}
