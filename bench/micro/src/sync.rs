//! Assembling the answer of `/sync` for a user in many rooms, without HTTP and JSON.

use std::time::Duration;

use divan::Bencher;
use ruma::{OwnedUserId, api::client::filter::FilterDefinition};
use serde_json::json;
use stoa_base::DeviceKey;
use stoa_rooms::tokens::SyncToken;
use stoa_sync::{
    Reader,
    v3::{self, Request},
};
use stoa_testing::{TestClient, TestDatabase, TestServer};
use tokio::runtime::Runtime;

const ROOMS: usize = 200;
const MESSAGES: usize = 10;

/// A user in many rooms, each with some messages.
struct World {
    runtime: Runtime,
    server: TestServer,
    alice: TestClient,
    rooms: Vec<String>,
    _database: TestDatabase,
}

impl World {
    fn new() -> Self {
        let (runtime, database) = (crate::runtime(), TestDatabase::sqlite());
        let (server, alice, rooms) = runtime.block_on(async {
            let server = TestServer::start(&database).await;
            let alice = server.register("alice").await;
            let mut rooms = Vec::new();
            for number in 0..ROOMS {
                let room = alice.create_room(json!({ "name": format!("Room {number}") })).await;
                for message in 0..MESSAGES {
                    alice.send(&room, &format!("message {message}")).await;
                }
                rooms.push(room);
            }
            (server, alice, rooms)
        });
        Self { runtime, server, alice, rooms, _database: database }
    }

    /// The token up to which a client that presented `since` has read now.
    fn sync(&self, since: Option<SyncToken>) -> SyncToken {
        let user_id = OwnedUserId::try_from(&*self.alice.user_id).expect("a user ID");
        let device = DeviceKey::new(&user_id, self.alice.device_id.as_str().into(), 0);
        let reader = Reader::new(&user_id, device);
        let filter = FilterDefinition::default();
        let request = Request {
            since,
            filter: &filter,
            full_state: false,
            use_state_after: false,
            timeout: Duration::ZERO,
        };
        let answer = v3::sync(&self.server.state().sources, &reader, request);
        let answer = self.runtime.block_on(answer).expect("an answer");
        answer.next_batch.parse().expect("a token")
    }
}

/// All of it, for a new device.
#[divan::bench]
fn initial_of_200_rooms(bencher: Bencher<'_, '_>) {
    let world = World::new();
    bencher.bench_local(|| world.sync(None));
}

/// A message in one of the rooms.
#[divan::bench]
fn one_message_in_200_rooms(bencher: Bencher<'_, '_>) {
    let world = World::new();
    let since = world.sync(None);
    let room = world.rooms.first().expect("a room");
    world.runtime.block_on(world.alice.send(room, "news"));
    bencher.bench_local(|| world.sync(Some(since)));
}

/// Nothing new.
#[divan::bench]
fn nothing_new_in_200_rooms(bencher: Bencher<'_, '_>) {
    let world = World::new();
    let since = world.sync(None);
    bencher.bench_local(|| world.sync(Some(since)));
}
