//! Clients that sync incrementally end up with what new clients get at once.
//!
//! Ten users act at random. Each has a client with its own filter, which syncs now and then, waits
//! for news or not, loses answers, and fills gaps through `/messages`. Now and then each client is
//! compared with a new device.
//!
//! A failure prints its seed and what was done. `STOA_TEST_SEED` sets the first seed,
//! `STOA_TEST_STEPS` the number of steps, and `STOA_TEST_RUNS` the number of runs, each with the
//! next seed.

mod client;
mod compare;
mod events;
mod filters;
mod operations;

use serde_json::json;
use stoa_storage::log::Stream;
use stoa_testing::{Backend, TestClient, TestDatabase, TestServer, both_databases, surgery};

use self::{
    client::{Client, Device},
    compare::differences,
    filters::Wishes,
    operations::World,
};
use crate::dice::{Dice, number};

const USERS: usize = 10;

/// How many things are done between two comparisons.
const STRETCH: u64 = 20;

both_databases! {
    async fn a_client_ends_up_with_what_a_new_one_gets(db: TestDatabase) {
        soak(db, 1).await;
    }
}

#[test]
fn a_client_of_two_nodes_ends_up_with_what_a_new_one_gets() {
    stoa_testing::run_on(Backend::Postgres, async |db| soak(db, 2).await);
}

/// While the server is upgraded, an older node runs next to a newer one: a stream that it does not know
/// stops nothing, and all that it knows is right. These are the streams that the users here use most;
/// `two_nodes/freshness.rs` has a node lack each.
#[test]
fn a_client_of_a_node_that_lacks_a_stream_ends_up_with_what_a_new_one_gets() {
    let streams = [Stream::Timeline, Stream::State, Stream::Membership, Stream::AccountData];
    stoa_testing::run_on(Backend::Postgres, async |db| {
        for (stream, seed) in streams.into_iter().zip(number("STOA_TEST_SEED", 1)..) {
            let database = TestDatabase::create(db.backend()).await.unwrap();
            let store = database.store().await;
            surgery::hide_stream(&store, stream).await;
            run(&database, 2, seed, 60).await;
            let hidden = surgery::hidden_batches(&store).await;
            assert!(hidden > 0, "the first node has said nothing of {stream:?}");
        }
    });
}

async fn soak(db: &TestDatabase, nodes: usize) {
    let first = number("STOA_TEST_SEED", 1);
    for seed in first..first + number("STOA_TEST_RUNS", 2) {
        let database = TestDatabase::create(db.backend()).await.unwrap();
        run(&database, nodes, seed, 240).await;
    }
}

/// `steps` are done unless somebody asks for more.
async fn run(db: &TestDatabase, nodes: usize, seed: u64, steps: u64) {
    let mut servers = Vec::new();
    for _ in 0..nodes {
        servers.push(TestServer::start(db).await);
    }
    let dice = Dice::new(seed);
    let mut members = Vec::new();
    let mut users = Vec::new();
    for index in 0..USERS {
        let user = servers[0].register(&format!("user{index}")).await;
        users.push((user.user_id.clone(), device(&servers, &user)));
        members.push(Member::new(&servers, &user, seed.wrapping_mul(1_000) + index as u64).await);
    }
    let mut world = World::new(users);
    let mut course = Course { seed, steps: Vec::new() };
    for step in 1..=number("STOA_TEST_STEPS", steps) {
        let client = &mut members[dice.below(USERS)].client;
        let done = match dice.below(10) {
            0..5 => world.step(&dice).await,
            5..8 => {
                client.sync(0).await;
                world.step(&dice).await
            }
            _ => tokio::join!(client.sync(100), world.step(&dice)).1,
        };
        course.steps.push(done.what);
        if let Some((user, room)) = done.moved {
            members[user].client.remember(&room);
        }
        if let Some((user, room)) = done.forgotten {
            members[user].client.forget(&room);
        }
        if step % STRETCH == 0 {
            for member in &mut members {
                let differences = member.differences().await;
                assert!(differences.is_empty(), "{course}\n{}\n{differences:#?}", member.name);
            }
        }
    }
}

/// A user with the client under test, and a device to compare it with.
struct Member {
    name: String,
    client: Client,
    newcomer: Device,
}

impl Member {
    async fn new(servers: &[TestServer], user: &TestClient, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let wishes = Wishes::draw(&dice);
        let tried = device(servers, &servers[0].log_in(user).await);
        let newcomer = device(servers, &servers[0].log_in(user).await);
        let name = format!("{} with {wishes:?}", user.user_id);
        Self { name, client: Client::new(tried, dice, wishes), newcomer }
    }

    async fn differences(&mut self) -> Vec<String> {
        self.client.catch_up().await;
        let wishes = self.client.wishes.clone();
        let mut new = Client::new(self.newcomer.clone(), Dice::new(0), wishes);
        new.catch_up().await;
        differences(&self.client, &new).await
    }
}

/// The same device on each of the nodes.
fn device(servers: &[TestServer], client: &TestClient) -> Device {
    let session = json!({
        "access_token": client.token(),
        "user_id": client.user_id,
        "device_id": client.device_id,
    });
    Device(servers.iter().map(|server| server.client().with_session(&session)).collect())
}

/// A description of everything done, for reproducing a failure.
struct Course {
    seed: u64,
    steps: Vec<String>,
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "STOA_TEST_SEED={} did", self.seed)?;
        for (step, what) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}. {what}", step + 1)?;
        }
        Ok(())
    }
}
