//! The rows of batches are read once for all caches that follow the log.

use stoa_base::EventNid;
use stoa_storage::{
    StatementKind,
    log::{LogReader, LoggedBatch, Mark, News, StateChangeRow, Stream},
};
use stoa_testing::{TestNode, both_databases, sample};

use crate::{ROOM, write};

async fn batches(reader: &mut LogReader) -> Vec<LoggedBatch> {
    match reader.after(Mark::START, 1_000).await.unwrap() {
        News::Batches(batches) => batches.into_iter().filter(|batch| !batch.is_jump()).collect(),
        news => panic!("{news:?}"),
    }
}

fn follow_statements(node: &TestNode) -> u64 {
    let statements = node.store.statements().into_iter();
    let mut follow = statements.filter(|(kind, _)| *kind == StatementKind::Follow);
    follow.next().unwrap().1
}

both_databases! {
    async fn the_rows_of_each_batch_are_kept_apart(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        for nid in 1..=5 {
            write(&node, sample::message(nid, ROOM)).await;
        }
        let mut change = sample::state_change(6, ROOM);
        change.state_changes.push(StateChangeRow {
            room_nid: ROOM,
            pos: stoa_storage::log::RelPos(1),
            kind: "m.room.topic".to_owned(),
            state_key: String::new(),
            old_nid: None,
            new_nid: Some(EventNid(6)),
        });
        write(&node, change).await;
        let mut membership = sample::membership(7, ROOM, "@bob:test", "join");
        membership.touched.add(Stream::Membership, ruma::user_id!("@bob:test"));
        write(&node, membership).await;

        let mut reader = LogReader::new(node.store.clone());
        let batches = batches(&mut reader).await;
        let rows = reader.rows(&batches).await.unwrap();
        let events = |index: usize| -> Vec<i64> {
            let rows = rows.of(&batches[index]).unwrap();
            rows.events.iter().map(|event| event.nid.0).collect()
        };
        let all: Vec<Vec<i64>> = (0..batches.len()).map(events).collect();
        let expected: [&[i64]; 8] = [&[], &[1], &[2], &[3], &[4], &[5], &[6], &[]];
        assert_eq!(all, expected);
        let changed = rows.of(&batches[6]).unwrap();
        assert_eq!(changed.state_changes.len(), 1);
        assert_eq!(changed.rooms[&ROOM].room_id, "!room7:test");
        assert_eq!(changed.as_of, batches[7].last);
        assert_eq!(rows.of(&batches[5]).unwrap().state_changes.len(), 0);
        let bob = &rows.of(&batches[7]).unwrap().memberships["@bob:test"];
        assert_eq!(bob[0].membership, "join");

        let messages = &batches[1..6];
        let before = follow_statements(&node);
        reader.rows(messages).await.unwrap();
        assert_eq!(follow_statements(&node) - before, 1, "for five messages");
    }

    async fn batches_beyond_the_limits_are_left_out_and_not_reported_as_read(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        for nid in 1..=200 {
            let mut message = sample::message(nid, ROOM);
            for event in &mut message.events {
                event.json = format!(r#"{{"content":"{}"}}"#, "x".repeat(60_000));
            }
            write(&node, message).await;
        }
        let mut reader = LogReader::new(node.store.clone());
        let batches = batches(&mut reader).await;
        let rows = reader.rows(&batches).await.unwrap();
        let read: Vec<bool> = batches.iter().map(|batch| rows.of(batch).is_some()).collect();
        let first = read.iter().filter(|is_read| **is_read).count();
        assert!((100..200).contains(&first), "{first}");
        assert!(read[..first].iter().all(|is_read| *is_read));
        let bytes = batches[..first]
            .iter()
            .flat_map(|batch| rows.of(batch).unwrap().events)
            .map(|event| event.json.len())
            .sum::<usize>();
        assert!(bytes <= 8 << 20);
        // The rest can be read from there.
        let rows = reader.rows(&batches[first..]).await.unwrap();
        assert!(rows.of(&batches[first]).is_some());
        assert!(rows.of(&batches[200]).is_some());
    }
}
