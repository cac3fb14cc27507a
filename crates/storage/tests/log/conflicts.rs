//! Conflicts that an append meets under the lock. They fail only the append and what was built on
//! it.

use std::sync::Arc;

use stoa_base::{Pos, RoomNid, StateNid};
use stoa_storage::{
    Store,
    log::{Append, AppendError, Chain, Guard, StateNodeRow},
};
use stoa_testing::{TestNode, both_databases, sample};

use crate::{ROOM, together, write};

/// A new chain, as for a caller who loads the room now.
async fn load(store: &Store) -> Arc<Chain> {
    let mut conn = store.read().await.unwrap();
    let (state, head): (i64, i64) = conn
        .one("SELECT state_pos, head_pos FROM rooms WHERE nid = $1", &[ROOM.0.into()])
        .await
        .unwrap();
    Arc::new(Chain::new(ROOM, Pos(state), Pos(head)))
}

/// A message, authorized against the state that the chain knows.
fn message(nid: i64, chain: &Arc<Chain>) -> Append {
    let mut append = sample::message(nid, ROOM);
    append.guards.push(Guard::State(Arc::clone(chain)));
    append
}

/// A state event, built on the extremities and state that the chain knows.
fn state_event(nid: i64, chain: &Arc<Chain>) -> Append {
    let mut append = sample::state_change(nid, ROOM);
    append.guards.push(Guard::Head(Arc::clone(chain)));
    append
}

fn with_txn(nid: i64, txn: &str) -> Append {
    let mut append = sample::message(nid, ROOM);
    for event in &mut append.events {
        event.txn_device = Some("@alice:test|DEVICE".to_owned());
        event.txn_id = Some(txn.to_owned());
    }
    append
}

async fn events(store: &Store) -> Vec<i64> {
    let sql = "SELECT nid FROM events WHERE pos IS NOT NULL ORDER BY pos";
    let rows: Vec<(i64,)> = store.read().await.unwrap().all(sql, &[]).await.unwrap();
    rows.into_iter().map(|(nid,)| nid).collect()
}

type Answers = Vec<Result<stoa_storage::log::Appended, AppendError>>;

/// The outcome of each append: `ok`, or the error's name.
fn outcomes(answers: &Answers) -> Vec<&'static str> {
    answers
        .iter()
        .map(|answer| match answer {
            Ok(_) => "ok",
            Err(AppendError::Conflict) => "conflict",
            Err(AppendError::Duplicate) => "duplicate",
            Err(AppendError::SessionEnded) => "session ended",
            Err(AppendError::AccountChanged) => "account changed",
            Err(AppendError::Refused(_)) => "refused",
            Err(AppendError::Busy | AppendError::Unavailable) => "failed",
        })
        .collect()
}

both_databases! {
    async fn a_duplicate_event_is_refused_alone(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, with_txn(1, "a")).await;
        let same_id = {
            let mut append = sample::message(12, ROOM);
            append.events[0].event_id = "$event1".to_owned();
            append
        };
        let same_nid = {
            let mut append = sample::message(1, ROOM);
            append.events[0].event_id = "$other".to_owned();
            append
        };
        let again = sample::message(1, ROOM);
        let appends = vec![
            sample::message(10, ROOM), with_txn(11, "a"), same_id, same_nid, again,
            with_txn(13, "b"), sample::message(14, ROOM),
        ];
        let answers = together(&node, appends).await;
        assert_eq!(outcomes(&answers), [
            "ok", "duplicate", "duplicate", "conflict", "duplicate", "ok", "ok",
        ]);
        assert_eq!(events(&node.store).await, [1, 10, 13, 14]);
    }

    async fn the_second_append_of_a_transaction_fails_once_the_first_is_written(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let held = crate::hold(&node).await;
        let first = node.writer.enqueue(Append::new()).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let one = node.writer.enqueue(with_txn(1, "a")).unwrap();
        let other = node.writer.enqueue(with_txn(2, "a")).unwrap();
        drop(held);
        first.wait().await.unwrap();
        assert!(matches!(other.wait().await, Err(AppendError::Duplicate)));
        assert_eq!(events(&node.store).await, [1]);
        one.wait().await.unwrap();
    }

    async fn creating_an_existing_room_conflicts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        let same_id = {
            let mut append = sample::creation(RoomNid(8));
            append.rooms[0].room_id = "!room7:test".to_owned();
            append
        };
        let other = || sample::creation(RoomNid(9));
        let answers = together(&node, vec![same_id, other(), other()]).await;
        assert_eq!(outcomes(&answers), ["conflict", "ok", "conflict"]);
    }

    async fn messages_do_not_conflict_with_messages(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        let answers = together(&node, vec![message(1, &one), message(2, &other)]).await;
        assert_eq!(outcomes(&answers), ["ok", "ok"]);
        let answers = together(&node, vec![message(3, &other), message(4, &one)]).await;
        assert_eq!(outcomes(&answers), ["ok", "ok"]);
        assert_eq!(events(&node.store).await, [1, 2, 3, 4]);
    }

    async fn a_message_conflicts_with_a_change_of_state(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        write(&node, state_event(1, &one)).await;
        let answers = together(&node, vec![message(2, &other), message(3, &one)]).await;
        assert_eq!(outcomes(&answers), ["conflict", "ok"]);
        assert!(other.is_broken() && !one.is_broken());

        // The same if both are written together.
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        let answers = together(&node, vec![
            message(4, &other), state_event(5, &one), message(6, &other), message(7, &one),
        ]).await;
        assert_eq!(outcomes(&answers), ["ok", "conflict", "ok", "conflict"]);
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        let answers = together(&node, vec![
            state_event(8, &one), message(9, &other), message(10, &one),
        ]).await;
        assert_eq!(outcomes(&answers), ["ok", "conflict", "ok"]);
        assert_eq!(events(&node.store).await, [1, 3, 4, 6, 8, 10]);
    }

    async fn a_state_event_conflicts_with_extremities_that_it_does_not_know(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        write(&node, message(1, &other)).await;
        let answers = together(&node, vec![state_event(2, &one)]).await;
        assert_eq!(outcomes(&answers), ["conflict"]);

        // A message of its own does not tell the chain what came before it.
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        write(&node, message(3, &other)).await;
        write(&node, message(4, &one)).await;
        let answers = together(&node, vec![message(5, &one), state_event(6, &one)]).await;
        assert_eq!(outcomes(&answers), ["ok", "conflict"]);

        // The same if both are written together.
        let (one, other) = (load(&node.store).await, load(&node.store).await);
        let answers = together(&node, vec![message(7, &other), message(8, &one)]).await;
        assert_eq!(outcomes(&answers), ["ok", "ok"]);
        let answers = together(&node, vec![state_event(9, &one)]).await;
        assert_eq!(outcomes(&answers), ["conflict"]);
    }

    async fn appends_built_on_a_failed_one_fail_but_earlier_ones_do_not(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        write(&node, sample::message(2, ROOM)).await;
        let chain = load(&node.store).await;
        let neighbour = sample::message(20, RoomNid(8));
        let appends = vec![
            message(1, &chain), message(2, &chain), message(3, &chain), neighbour,
            state_event(4, &chain),
        ];
        let answers = together(&node, appends).await;
        assert_eq!(outcomes(&answers), ["ok", "duplicate", "conflict", "ok", "conflict"]);
        let answers = together(&node, vec![message(5, &chain)]).await;
        assert_eq!(outcomes(&answers), ["conflict"]);
        assert_eq!(events(&node.store).await, [2, 1, 20]);
    }

    async fn a_chain_continues_across_batches(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        let chain = load(&node.store).await;
        for start in [10, 20, 30] {
            let appends = vec![
                message(start, &chain), state_event(start + 1, &chain), message(start + 2, &chain),
                state_event(start + 3, &chain),
            ];
            assert_eq!(outcomes(&together(&node, appends).await), ["ok"; 4]);
        }
    }

    async fn an_append_of_an_ended_session_is_refused(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut conn = node.store.write().await.unwrap();
        conn.execute("INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms)
            VALUES ('valid', '@a:test', 'A', 'password', 1)", &[]).await.unwrap();
        conn.commit().await.unwrap();
        let by = |nid, token: &str| {
            let mut append = sample::message(nid, ROOM);
            append.guards.push(Guard::Session(token.to_owned()));
            append
        };
        let answers = together(&node, vec![by(1, "valid"), by(2, "gone"), by(3, "valid")]).await;
        assert_eq!(outcomes(&answers), ["ok", "session ended", "ok"]);
        assert_eq!(events(&node.store).await, [1, 3]);
    }

    async fn an_append_that_the_database_refuses_fails_alone(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        let state_node = |nid| {
            let mut append = sample::message(nid, ROOM);
            append.state_nodes.push(StateNodeRow { nid: StateNid(3), node: "00".to_owned() });
            append
        };
        write(&node, state_node(1)).await;
        let chain = load(&node.store).await;
        let failing = {
            let mut append = state_node(11);
            append.guards.push(Guard::State(Arc::clone(&chain)));
            append
        };
        let appends = vec![
            message(10, &chain), failing, message(12, &chain), sample::message(13, RoomNid(8)),
        ];
        let answers = together(&node, appends).await;
        assert_eq!(outcomes(&answers), ["ok", "refused", "conflict", "ok"]);
        assert_eq!(events(&node.store).await, [1, 10, 13]);
    }

    async fn nothing_moves_while_an_append_is_built_under_the_lock(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let neighbour = TestNode::start(db).await;
        write(&node, sample::creation(ROOM)).await;
        if db.backend() == stoa_testing::Backend::Sqlite {
            // There is only one node, and all its writes go through the one writer.
            let (store, writer) = (node.store.clone(), node.writer.clone());
            let locked = node.writer.append_locked(move || async move {
                let other = writer.enqueue(sample::message(1, ROOM)).unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                drop(other);
                Ok(state_event(2, &load(&store).await))
            });
            locked.await.unwrap();
            write(&node, Append::new()).await;
            assert_eq!(events(&node.store).await, [2, 1]);
            return;
        }
        let store = node.store.clone();
        let locked = node.writer.append_locked(move || async move {
            let chain = load(&store).await;
            let other = neighbour.writer.enqueue(sample::message(1, ROOM)).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            drop(other);
            Ok(state_event(2, &chain))
        });
        locked.await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(events(&node.store).await, [2, 1]);
    }

    async fn a_build_that_fails_or_panics_does_not_harm_the_writer(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let failed = node.writer.append_locked(|| async { Err(AppendError::Conflict) }).await;
        assert!(matches!(failed, Err(AppendError::Conflict)));
        let panicked = node.writer.append_locked(|| async { panic!("on purpose") }).await;
        assert!(matches!(panicked, Err(AppendError::Refused(_))));
        write(&node, sample::message(1, ROOM)).await;
        assert_eq!(events(&node.store).await, [1]);
    }

    async fn a_build_that_takes_too_long_is_given_up_and_others_go_on(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let slow = node.writer.append_locked(|| async {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            Ok(sample::message(1, ROOM))
        });
        let other = async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let asked = std::time::Instant::now();
            write(&node, sample::message(2, ROOM)).await;
            asked.elapsed()
        };
        let (slow, waited) = tokio::join!(slow, other);
        assert!(matches!(slow, Err(AppendError::Busy)), "{slow:?}");
        assert!(waited < std::time::Duration::from_secs(2), "another waited for {waited:?}");
        assert_eq!(events(&node.store).await, [2]);
        // An append that was given up can be built again.
        let again = node.writer.append_locked(|| async { Ok(sample::message(1, ROOM)) }).await;
        again.unwrap();
        assert_eq!(events(&node.store).await, [2, 1]);
    }

    async fn one_append_has_consecutive_positions_and_sees_them(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut append = Append::new();
        for nid in 1..=3 {
            let pos = append.next_pos();
            let mut event = sample::event(nid, ROOM);
            event.pos = Some(pos);
            append.events.push(event);
        }
        let last = append.events[2].pos.unwrap();
        let appended = write(&node, append).await;
        assert_eq!((appended.pos(last), appended.last()), (Pos(3), Pos(3)));
        assert_eq!(node.tailer.applied(), Pos(3));
    }
}
