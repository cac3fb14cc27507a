//! What requests cost in the database, counted: it follows the change, not the size of the room.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use stoa_base::Actor;
use stoa_rooms::MembershipChange;
use stoa_storage::{Backend, StatementKind, Store};
use stoa_testing::{TestClient, TestDatabase, TestServer, WrittenRows, both_databases};

/// How often a cost is taken. The least counts: now and then a block of internal numbers is drawn.
const TRIES: usize = 3;

/// What was sent to the database, and how many rows were written there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    /// By kind, where there are any.
    statements: BTreeMap<String, u64>,
    rows: i64,
}

impl Cost {
    pub(crate) fn of(&self, kind: StatementKind) -> u64 {
        self.statements.get(&kind.to_string()).copied().unwrap_or_default()
    }
}

/// A server on which nothing happens but what is asked for.
pub(crate) async fn quiet_server(db: &TestDatabase) -> TestServer {
    TestServer::start_with(db, |_, environment| {
        environment.tailer.interval = Duration::from_secs(3_600);
        environment.tailer.announce = false;
    })
    .await
}

/// Counts what `action` costs, and takes the least of several times.
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
    let room = rooms.room(room.try_into().unwrap()).await.unwrap();
    let joins = (1..members).map(|index| {
        let user_id = format!("@member{index}:test");
        let actor = Actor::user(user_id.as_str().try_into().unwrap());
        let room = &room;
        async move {
            let join = MembershipChange::Join(Default::default());
            let profile = Default::default();
            rooms.change_membership(&actor, None, room, join, &profile, None).await.unwrap();
        }
    });
    join_all(joins).await;
}

/// What a message costs in a room of `members`, and then an empty sync of its sender.
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

/// Syncs and gives the token. With one there must be nothing new.
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
