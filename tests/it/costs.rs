//! The cost of requests in the database, counted: it depends on the change, not on the size of the
//! room.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use ruma::{OwnedUserId, api::client::filter::FilterDefinition};
use serde_json::json;
use stoa_base::{Actor, DeviceKey};
use stoa_rooms::{
    MembershipChange,
    tokens::{EphemeralPosition, SyncToken},
};
use stoa_storage::{Backend, StatementKind, Store};
use stoa_sync::{Reader, v3};
use stoa_testing::{
    TestClient, TestDatabase, TestServer, WrittenRows, both_databases, public_room, run_on,
};
use tokio::task::JoinHandle;

/// How often a cost is measured. The least counts, because now and then a block of internal numbers
/// is reserved.
const TRIES: usize = 3;

/// The statements sent to the database, and the rows written there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    /// By kind, without zeros.
    statements: BTreeMap<String, u64>,
    rows: i64,
}

impl Cost {
    pub(crate) fn of(&self, kind: StatementKind) -> u64 {
        self.statements.get(&kind.to_string()).copied().unwrap_or_default()
    }
}

/// A server without background work.
pub(crate) async fn quiet_server(db: &TestDatabase) -> TestServer {
    TestServer::start_with(db, |_, environment| {
        environment.tailer.interval = Duration::from_secs(3_600);
        environment.tailer.announce = false;
    })
    .await
}

/// Measures the cost of `action` several times and returns the least.
pub(crate) async fn least_cost(store: &Store, action: impl AsyncFn()) -> Cost {
    let mut least = None;
    for _ in 0..TRIES {
        let rows = WrittenRows::begin(store).await;
        let before = store.statements();
        action().await;
        let after = store.statements();
        let statements = before.iter().zip(after).map(|(before, after)| {
            assert_eq!(before.0, after.0);
            (after.0.to_string(), after.1 - before.1)
        });
        let statements = statements.filter(|(_, count)| *count > 0).collect();
        let cost = Cost { statements, rows: rows.count().await };
        least = Some(least.map_or(cost.clone(), |least: Cost| least.min(cost)));
    }
    least.unwrap()
}

/// Lets many users join a room.
pub(crate) async fn fill(server: &TestServer, room: &str, members: usize) {
    let rooms = &server.state().rooms;
    let room = rooms.known.by_id(room.try_into().unwrap()).await.unwrap();
    let joins = (1..members).map(|index| {
        let user_id = format!("@member{index}:test");
        let actor = Actor::user(user_id.as_str().try_into().unwrap());
        let room = &room;
        async move {
            let join = MembershipChange::Join(Default::default());
            let profile = Default::default();
            rooms
                .membership_changes
                .change(&actor, None, room, join, &profile, None)
                .await
                .unwrap();
        }
    });
    join_all(joins).await;
}

/// The cost of a message in a room of `members`, and of an empty sync of its sender after it.
async fn costs(db: &TestDatabase, members: usize) -> (Cost, Cost) {
    let server = quiet_server(db).await;
    let store = server.state().store.clone();
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    fill(&server, &room, members).await;
    let joined = alice.get(&stoa_testing::in_room(&room, "joined_members")).await.ok();
    assert_eq!(joined["joined"].as_object().unwrap().len(), members);
    alice.send(&room, "the room is in memory").await;
    let message = least_cost(&store, async || drop(alice.send(&room, "hello").await)).await;

    let since = sync(&alice, None).await;
    let empty = least_cost(&store, async || drop(sync(&alice, Some(&since)).await)).await;
    (message, empty)
}

/// Members of a room whose syncs wait on one node for news from another.
struct Elsewhere {
    node: TestServer,
    waiting: Vec<JoinHandle<v3::Response>>,
    token: SyncToken,
}

impl Elsewhere {
    /// A node on which nobody waits yet.
    async fn start(db: &TestDatabase) -> Self {
        Self::on(quiet_server(db).await)
    }

    fn on(node: TestServer) -> Self {
        let token = SyncToken {
            log: node.state().tailer.applied(),
            ephemeral: EphemeralPosition { is_quiet: true, ..Default::default() },
            ..Default::default()
        };
        Self { node, waiting: Vec::new(), token }
    }

    /// Starts syncs of these users from their last token.
    async fn wait(&mut self, users: &[OwnedUserId]) {
        for user_id in users {
            let (sources, user_id) = (self.node.state().sources.clone(), user_id.clone());
            let token = self.token;
            self.waiting.push(tokio::spawn(async move {
                let request = v3::Request {
                    since: Some(token),
                    filter: &FilterDefinition::default(),
                    full_state: false,
                    use_state_after: false,
                    timeout: Duration::from_secs(120),
                };
                let reader = Reader::new(&user_id, DeviceKey::new(&user_id, "DEVICE".into(), 0));
                v3::sync(&sources, &reader, request).await.unwrap()
            }));
        }
        let begin = std::time::Instant::now();
        while self.node.state().waiters.len() < users.len() {
            assert!(begin.elapsed() < Duration::from_secs(60), "they wait");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Wakes the node, and counts its statements until every sync has been answered.
    async fn tell(&mut self) -> u64 {
        let state = self.node.state();
        let count = || state.store.statements().iter().map(|(_, count)| count).sum::<u64>();
        let before = count();
        state.tailer.catch_up().await.unwrap();
        for answer in join_all(self.waiting.drain(..)).await {
            let rooms = answer.unwrap().rooms;
            assert!(!rooms.join.is_empty() || !rooms.invite.is_empty());
        }
        let statements = count() - before;
        self.token.log = state.tailer.applied();
        statements
    }
}

/// The cost, on a node on which members of a room wait, of a message, a state change and a join
/// from another node.
async fn costs_elsewhere(db: &TestDatabase, members: usize) -> [u64; 3] {
    let server = quiet_server(db).await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    fill(&server, &room, members).await;
    let user = |index: usize| format!("@member{index}:test").try_into().unwrap();
    let users: Vec<OwnedUserId> = (1..members).map(user).collect();
    let mut elsewhere = Elsewhere::start(db).await;
    // Every user has synced before.
    elsewhere.wait(&users).await;
    alice.send(&room, "hello").await;
    elsewhere.tell().await;

    let mut least = [u64::MAX; 3];
    // Now and then something else asks the database at the same time.
    for attempt in 0..TRIES {
        let newcomer = server.register(&format!("newcomer{attempt}")).await;
        elsewhere.wait(&users).await;
        alice.send(&room, "hello").await;
        let message = elsewhere.tell().await;
        elsewhere.wait(&users).await;
        let topic = json!({ "topic": format!("news {attempt}") });
        alice.set_state(&room, "m.room.topic", "", topic).await;
        let topic = elsewhere.tell().await;
        elsewhere.wait(&users).await;
        newcomer.join(&room).await;
        let join = elsewhere.tell().await;
        for (least, count) in least.iter_mut().zip([message, topic, join]) {
            *least = count.min(*least);
        }
    }
    least
}

#[test]
fn changes_from_another_node_are_read_once_for_all_waiting() {
    run_on(Backend::Postgres, async |db| {
        let small = costs_elsewhere(db, 10).await;
        let large = TestDatabase::create(db.backend()).await.unwrap();
        let large = costs_elsewhere(&large, 1_000).await;
        let [message, topic, join] = large;
        assert!(message <= 3, "a message: {small:?} with 10, {large:?} with 1,000");
        assert!(topic <= 8, "a change of state: {small:?} with 10, {large:?} with 1,000");
        assert!(join <= 12, "a join: {small:?} with 10, {large:?} with 1,000");
    });
}

/// The cost of the first sync after a restart for a user in three rooms with news and `quiet`
/// others.
async fn cost_after_restart(db: &TestDatabase, quiet: usize) -> u64 {
    let server = quiet_server(db).await;
    let alice = server.register("alice").await;
    let actor = Actor::user(alice.user_id.as_str().try_into().unwrap());
    let mut rooms = Vec::new();
    for _ in 0..quiet + 3 {
        let room = server.state().rooms.creation.create(&actor, None, public_room()).await.unwrap();
        rooms.push(room.to_string());
    }
    let since = sync(&alice, None).await;
    for room in &rooms[..3] {
        alice.send(room, "hello").await;
    }
    alice.set_state(&rooms[0], "m.room.topic", "", json!({ "topic": "news" })).await;
    let session = json!({
        "access_token": alice.token(), "user_id": alice.user_id, "device_id": alice.device_id,
    });
    drop(alice);
    server.stop().await;

    // The node's own statements, for jobs and live nodes, may come in between.
    let mut least = u64::MAX;
    for _ in 0..3 {
        let server = quiet_server(db).await;
        let alice = server.client().with_session(&session);
        alice.get("/_matrix/client/v3/account/whoami").await.ok();
        let count = || {
            let statements = server.state().store.statements();
            statements.iter().map(|(_, count)| count).sum::<u64>()
        };
        let before = count();
        let answer = alice.get(&format!("/_matrix/client/v3/sync?since={since}")).await.ok();
        least = least.min(count() - before);
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 3, "{answer}");
        drop(alice);
        server.stop().await;
    }
    least
}

both_databases! {
    async fn the_first_sync_after_a_restart_does_not_pay_for_quiet_rooms(db: TestDatabase) {
        let few = cost_after_restart(db, 10).await;
        let other = TestDatabase::create(db.backend()).await.unwrap();
        let many = cost_after_restart(&other, 300).await;
        assert!(many <= few && many <= 30, "{few} with 10 quiet rooms, {many} with 300");
    }

    async fn a_page_of_events_that_are_in_memory_costs_one_read(db: TestDatabase) {
        let server = quiet_server(db).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        for number in 0..40 {
            alice.send(&room, &number.to_string()).await;
        }
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=30");
        let reads = || server.state().store.statements()[0].1;
        // The node's own statements may come in between.
        let mut least = u64::MAX;
        for _ in 0..3 {
            let before = reads();
            let page = alice.get(&path).await.ok();
            least = least.min(reads() - before);
            assert_eq!(page["chunk"].as_array().unwrap().len(), 30, "{page}");
        }
        assert_eq!(least, 1);
    }

    async fn a_change_of_membership_does_not_cost_the_rooms_of_a_user(db: TestDatabase) {
        let server = quiet_server(db).await;
        let (alice, bob) = (server.register("alice").await, server.register("bob").await);
        let actor = Actor::user(bob.user_id.as_str().try_into().unwrap());
        for _ in 0..50 {
            server.state().rooms.creation.create(&actor, None, public_room()).await.unwrap();
        }
        let (invited, joined) = (alice.create_room(json!({})).await, alice.create_public_room().await);
        let mut devices = Elsewhere::on(server);
        let bobs = vec![actor.user_id.clone(); 20];
        devices.wait(&bobs).await;
        let reads = |devices: &Elsewhere| devices.node.state().store.statements()[0];
        assert_eq!(reads(&devices).0, StatementKind::Read);
        let before = reads(&devices).1;
        alice.invite(&invited, &bob.user_id).await;
        devices.tell().await;
        let reads = reads(&devices).1 - before;
        assert!(reads <= 10, "{reads} reads for an invite to 20 devices");

        devices.wait(&bobs).await;
        let before = devices.node.state().waiters.notes();
        bob.join(&joined).await;
        devices.tell().await;
        devices.wait(&bobs).await;
        let notes = devices.node.state().waiters.notes() - before;
        assert_eq!(notes, 1, "one topic for one room that was entered");
    }
}

/// Syncs and returns the token. If a token is given, nothing must be new.
async fn sync(client: &TestClient, since: Option<&str>) -> String {
    let since_query = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let answer = client.get(&format!("/_matrix/client/v3/sync{since_query}")).await.ok();
    if since.is_some() {
        assert_eq!(answer, json!({ "next_batch": answer["next_batch"] }));
    }
    answer["next_batch"].as_str().unwrap().to_owned()
}

both_databases! {
    async fn a_message_costs_the_append_and_an_empty_sync_nothing(db: TestDatabase) {
        let (message, empty) = costs(db, 10).await;
        let large = TestDatabase::create(db.backend()).await.unwrap();
        let in_large_room = costs(&large, 1_000).await;
        assert_eq!((&message, &empty), (&in_large_room.0, &in_large_room.1), "of the room's size");

        assert_eq!(message.of(StatementKind::Read), 0, "{message:?}");
        assert_eq!(message.of(StatementKind::Follow), 0, "{message:?}");
        // The batch, the event, and the room's head.
        assert_eq!(message.rows, 3, "{message:?}");
        match db.backend() {
            Backend::Sqlite => {
                // One text, from BEGIN to COMMIT.
                assert_eq!(message.of(StatementKind::Write), 1, "{message:?}");
                assert!(empty.statements.is_empty(), "{empty:?}");
            }
            Backend::Postgres => {
                assert_eq!(message.of(StatementKind::Append), 1, "{message:?}");
                assert_eq!(message.of(StatementKind::Write), 0, "{message:?}");
                assert_eq!(empty.of(StatementKind::Follow), 1, "{empty:?}");
                assert_eq!(empty.statements.len(), 1, "{empty:?}");
            }
        }
        assert_eq!(empty.rows, 0, "{empty:?}");
    }
}
