//! Typing notifications on one node, on two, and across a crash of the database.

use std::{sync::Arc, time::Duration};

use ruma::{OwnedUserId, UserId};
use stoa_base::{Clock, EventNid, RoomNid};
use stoa_cluster::{Wait, Waiters};
use stoa_ephemeral::Typing;
use stoa_storage::{
    log::{Append, MembershipRow, Topic},
    repo::typing::{self, TypingChange},
};
use stoa_testing::{Backend, TestDatabase, TestNode, TestNodeOptions, both_databases, run_on};
use tokio::time::timeout;

const ROOM: RoomNid = RoomNid(1);
const OTHER_ROOM: RoomNid = RoomNid(2);
const LONG: Option<Duration> = Some(Duration::from_mins(1));
const INTERVAL: Duration = Duration::from_secs(1);

struct Node {
    typing: Typing,
    waiters: Waiters,
}

impl Node {
    async fn start(database: &TestDatabase) -> Self {
        let waiters = Waiters::default();
        let store = database.store().await;
        let (typing, _) =
            Typing::start(&store, Clock::system(), waiters.clone(), INTERVAL).await.unwrap();
        Self { typing, waiters }
    }

    async fn set(&self, name: &str, room: RoomNid, timeout: Option<Duration>) {
        self.typing.set(&user(name), room, timeout).await.unwrap();
    }

    /// The users who are typing in the room, if they changed after the count.
    fn news(&self, room: RoomNid, since: i64) -> Option<Vec<String>> {
        let (version, users) = self.typing.changed_since(room, since)?;
        assert!(version > since && version <= self.typing.version());
        assert_eq!(self.typing.typing(room), (version, users.clone()));
        Some(users.into_iter().map(|user_id| user_id.localpart().to_owned()).collect())
    }

    fn wait_for(&self, room: RoomNid) -> Wait {
        self.waiters.register(vec![Topic::from(room)])
    }

    /// Waits until exactly these users are typing.
    async fn until(&self, room: RoomNid, users: &[&str]) {
        let expected: Vec<OwnedUserId> = users.iter().map(|name| user(name)).collect();
        let wait = self.wait_for(room);
        let seen = async {
            while self.typing.typing(room).1 != expected {
                wait.changed().await;
            }
        };
        let seen = timeout(Duration::from_secs(5), seen).await;
        assert!(seen.is_ok(), "{:?} and not {expected:?}", self.typing.typing(room));
    }
}

fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:test")).unwrap()
}

async fn is_woken(wait: &Wait) -> bool {
    timeout(Duration::from_millis(300), wait.changed()).await.is_ok()
}

both_databases! {
    async fn a_user_is_typing_until_they_stop(db: TestDatabase) {
        let node = Node::start(db).await;
        assert_eq!(node.news(ROOM, 0), None);
        let before = node.typing.version();

        node.set("bob", ROOM, LONG).await;
        node.set("alice", ROOM, LONG).await;
        assert_eq!(node.news(ROOM, before).unwrap(), ["alice", "bob"]);
        assert_eq!(node.news(OTHER_ROOM, before), None);
        let between = node.typing.version();
        assert_eq!(node.news(ROOM, between), None);

        node.set("bob", ROOM, None).await;
        assert_eq!(node.news(ROOM, between).unwrap(), ["alice"]);
        node.set("alice", ROOM, None).await;
        for since in [0, before, between] {
            assert_eq!(node.news(ROOM, since).unwrap(), Vec::<String>::new());
        }
        assert_eq!(node.news(ROOM, node.typing.version()), None);
    }

    async fn readers_of_the_room_are_woken_when_typing_starts_and_stops(db: TestDatabase) {
        let node = Node::start(db).await;
        let (here, elsewhere) = (node.wait_for(ROOM), node.wait_for(OTHER_ROOM));
        node.set("alice", ROOM, LONG).await;
        assert!(is_woken(&here).await);
        node.set("alice", ROOM, None).await;
        assert!(is_woken(&here).await);
        assert!(!is_woken(&elsewhere).await);
    }

    async fn typing_ends_after_its_timeout(db: TestDatabase) {
        let node = Node::start(db).await;
        node.set("alice", ROOM, Some(Duration::from_millis(400))).await;
        node.set("bob", ROOM, LONG).await;
        let since = node.typing.version();
        let wait = node.wait_for(ROOM);
        timeout(Duration::from_secs(2), wait.changed()).await.unwrap();
        assert_eq!(node.news(ROOM, since).unwrap(), ["bob"]);
    }

    async fn continuing_to_type_extends_the_timeout_without_waking_readers(db: TestDatabase) {
        let node = Node::start(db).await;
        node.set("alice", ROOM, Some(Duration::from_millis(400))).await;
        let since = node.typing.version();
        let wait = node.wait_for(ROOM);
        node.set("alice", ROOM, LONG).await;
        assert!(!is_woken(&wait).await);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(node.news(ROOM, since), None);
        assert_eq!(node.news(ROOM, 0).unwrap(), ["alice"]);
    }

    async fn typing_for_no_time_is_not_typing(db: TestDatabase) {
        let node = Node::start(db).await;
        node.set("alice", OTHER_ROOM, Some(Duration::ZERO)).await;
        assert_eq!(node.news(OTHER_ROOM, 0), None);
        node.set("alice", ROOM, LONG).await;
        let since = node.typing.version();
        node.set("alice", ROOM, Some(Duration::ZERO)).await;
        assert_eq!(node.news(ROOM, since).unwrap(), Vec::<String>::new());
    }

    async fn stopping_without_having_typed_wakes_no_reader(db: TestDatabase) {
        let node = Node::start(db).await;
        node.set("alice", ROOM, None).await;
        assert_eq!(node.news(ROOM, 0), None);
        node.set("bob", ROOM, LONG).await;
        let since = node.typing.version();
        node.set("alice", ROOM, None).await;
        assert_eq!(node.news(ROOM, since), None);
    }

    async fn at_most_a_hundred_users_per_room_are_listed(db: TestDatabase) {
        let node = Node::start(db).await;
        let all = (0..101).map(|number| format!("user{number:03}"));
        for name in all {
            node.set(&name, ROOM, LONG).await;
        }
        assert_eq!(node.news(ROOM, 0).unwrap().len(), 100);
        // Users in the list can continue, and a new user can take the place of one who stopped.
        node.set("user000", ROOM, LONG).await;
        node.set("user001", ROOM, None).await;
        node.set("user100", ROOM, LONG).await;
        let told = node.news(ROOM, 0).unwrap();
        assert_eq!((told.len(), told[0].as_str(), told[99].as_str()), (100, "user000", "user100"));
    }

    async fn a_user_who_leaves_the_room_stops_typing(db: TestDatabase) {
        let store = db.store().await;
        let typing = Typing::start(&store, Clock::system(), Waiters::default(), INTERVAL);
        let (typing, _) = typing.await.unwrap();
        let caches = vec![Arc::new(typing.clone()) as _];
        let options = TestNodeOptions { caches, ..TestNodeOptions::default() };
        let server = TestNode::start_on(store, options).await;
        let node = Node { typing, waiters: Waiters::default() };
        node.set("alice", ROOM, LONG).await;
        node.set("bob", ROOM, LONG).await;

        for (name, membership) in [("alice", "leave"), ("bob", "join")] {
            let mut append = Append::new();
            let pos = append.next_pos();
            append.memberships.push(MembershipRow {
                user_id: user(name).into(),
                room_nid: ROOM,
                membership: membership.to_owned(),
                event_nid: EventNid(1),
                sender: user(name).into(),
                pos,
            });
            server.writer.append(append).await.unwrap();
        }
        let gone = async {
            while node.typing.typing(ROOM).1 != [user("bob")] {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.unwrap();
    }

    async fn each_start_of_a_single_node_begins_an_epoch(db: TestDatabase) {
        let first = Node::start(db).await;
        first.set("alice", ROOM, LONG).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = Node::start(db).await;
        if db.backend() == Backend::Sqlite {
            assert_ne!(first.typing.epoch(), second.typing.epoch());
            assert_eq!(second.news(ROOM, 0), None);
        } else {
            assert_eq!(first.typing.epoch(), second.typing.epoch());
            assert_eq!(second.news(ROOM, 0).unwrap(), ["alice"]);
        }
    }
}

#[test]
fn a_change_on_one_node_reaches_readers_on_another() {
    run_on(Backend::Postgres, async |db| {
        let (a, b) = (Node::start(db).await, Node::start(db).await);
        assert_eq!(a.typing.epoch(), b.typing.epoch());
        a.set("alice", ROOM, LONG).await;
        b.until(ROOM, &["alice"]).await;
        b.set("bob", ROOM, Some(Duration::from_millis(1_500))).await;
        a.until(ROOM, &["alice", "bob"]).await;
        // Both nodes see the end at the same count.
        a.until(ROOM, &["alice"]).await;
        b.until(ROOM, &["alice"]).await;
        assert_eq!(a.typing.typing(ROOM), b.typing.typing(ROOM));

        // A token of one node is valid on the other.
        let since = b.typing.version();
        a.set("alice", ROOM, None).await;
        assert_eq!(a.news(ROOM, since).unwrap(), Vec::<String>::new());
        b.until(ROOM, &[]).await;
        assert_eq!(b.news(ROOM, since).unwrap(), Vec::<String>::new());
    });
}

#[test]
fn another_node_can_extend_the_typing_of_a_user() {
    run_on(Backend::Postgres, async |db| {
        let (a, b) = (Node::start(db).await, Node::start(db).await);
        a.set("alice", ROOM, Some(Duration::from_secs(2))).await;
        b.until(ROOM, &["alice"]).await;
        let since = b.typing.version();
        a.set("alice", ROOM, LONG).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(b.news(ROOM, since), None);
        assert_eq!(b.news(ROOM, 0).unwrap(), ["alice"]);
    });
}

#[test]
fn concurrent_changes_of_the_same_rooms_converge() {
    run_on(Backend::Postgres, async |db| {
        let nodes = [Node::start(db).await, Node::start(db).await];
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..60 {
            let typing = nodes[number % 2].typing.clone();
            tasks.spawn(async move {
                let user_id = user(&format!("user{number:02}"));
                for round in 0..6 {
                    let room = RoomNid(i64::try_from((number + round) % 3).unwrap());
                    let stops = (number + round) % 4 == 0;
                    typing.set(&user_id, room, if stops { None } else { LONG }).await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        // After these changes, each node has read all earlier ones.
        nodes[0].set("last", ROOM, LONG).await;
        nodes[1].set("last", ROOM, LONG).await;
        for room in (0..3).map(RoomNid) {
            assert_eq!(nodes[0].typing.typing(room), nodes[1].typing.typing(room));
            assert!(!nodes[0].typing.typing(room).1.is_empty());
        }
    });
}

#[test]
fn after_a_crash_of_the_database_the_new_epoch_keeps_who_was_typing() {
    run_on(Backend::Postgres, async |db| {
        let (a, b) = (Node::start(db).await, Node::start(db).await);
        a.set("alice", ROOM, LONG).await;
        b.until(ROOM, &["alice"]).await;
        let epoch = a.typing.epoch();

        db.lose_unlogged_tables().await;
        a.set("bob", OTHER_ROOM, LONG).await;
        assert_ne!(a.typing.epoch(), epoch);
        assert_eq!(a.news(OTHER_ROOM, 0).unwrap(), ["bob"]);
        assert_eq!(a.news(ROOM, 0).unwrap(), ["alice"]);
        b.until(OTHER_ROOM, &["bob"]).await;
        assert_eq!(b.typing.epoch(), a.typing.epoch());

        let since = b.typing.version();
        a.set("alice", ROOM, None).await;
        b.until(ROOM, &[]).await;
        assert_eq!(b.news(ROOM, since).unwrap(), Vec::<String>::new());
    });
}

#[test]
fn the_timeout_is_limited_to_two_minutes() {
    run_on(Backend::Postgres, async |db| {
        let node = Node::start(db).await;
        node.set("alice", ROOM, Some(Duration::MAX)).await;
        let mut conn = db.store().await.read().await.unwrap();
        let news = typing::news(&mut conn, 0, 0, 10).await.unwrap().unwrap();
        let rest = news.rooms[0].typing[0].1;
        assert!((100_000..=120_000).contains(&rest), "{rest} ms");
    });
}

#[test]
fn rooms_without_changes_are_forgotten() {
    run_on(Backend::Postgres, async |db| {
        let mut conn = db.store().await.read().await.unwrap();
        assert_eq!(typing::news(&mut conn, 0, 0, 10).await.unwrap(), None);
        for room in 1..=5 {
            let change = TypingChange {
                room_nid: RoomNid(room),
                user_id: Some("@alice:test".to_owned()),
                timeout_ms: Some(60_000),
            };
            typing::change(&mut conn, &[change], 3).await.unwrap();
        }
        let rooms = async |conn: &mut _, counter, limit| {
            let epoch = typing::news(conn, 0, 0, 1).await.unwrap().unwrap().epoch;
            let news = typing::news(conn, epoch, counter, limit).await.unwrap().unwrap();
            let rooms: Vec<i64> = news.rooms.iter().map(|room| room.room.0).collect();
            (rooms, news.counter, news.more)
        };
        assert_eq!(rooms(&mut conn, 0, 10).await, (vec![3, 4, 5], 5, false));
        assert_eq!(rooms(&mut conn, 0, 2).await, (vec![3, 4], 4, true));
        assert_eq!(rooms(&mut conn, 4, 2).await, (vec![5], 5, false));
        assert_eq!(rooms(&mut conn, 5, 2).await, (vec![], 5, false));
    });
}
