//! The totals of one user are limited, and existing data stays usable.

use serde_json::{Value, json};
use stoa_config::Totals;
use stoa_testing::{PASSWORD, TestClient, TestDatabase, TestServer, both_databases};

const GLOBAL: &str = "/_matrix/client/v3/user/@alice:test/account_data";

async fn start(db: &TestDatabase, change: impl FnOnce(&mut Totals)) -> TestServer {
    TestServer::start_with(db, |config, _| change(&mut config.limits.totals)).await
}

fn text(length: usize) -> Value {
    json!({ "text": "x".repeat(length) })
}

async fn log_in(server: &TestServer, device: Option<&str>) -> TestClient {
    let mut request = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
    if let Some(device) = device {
        request["device_id"] = device.into();
    }
    let client = server.client();
    let session = client.post("/_matrix/client/v3/login", request).await.ok();
    client.with_session(&session)
}

both_databases! {
    async fn account_data_has_a_total_over_all_rooms(db: TestDatabase) {
        let server = start(db, |totals| totals.account_data_bytes = 65_536).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let in_room = format!("/_matrix/client/v3/user/@alice:test/rooms/{room}/account_data/b");
        let a = format!("{GLOBAL}/a");
        alice.put(&a, text(30_000)).await.ok();
        alice.put(&in_room, text(30_000)).await.ok();
        alice.put(&format!("{GLOBAL}/c"), text(30_000)).await.refused(413, "M_TOO_LARGE");
        alice.put(&a, text(40_000)).await.refused(413, "M_TOO_LARGE");
        // Characters are counted as the bytes that they take.
        let wide = json!({ "text": "é".repeat(20_000) });
        alice.put(&a, wide).await.refused(413, "M_TOO_LARGE");
        // Content that gets smaller is always accepted.
        alice.put(&a, text(29_000)).await.ok();
        alice.put(&a, json!({})).await.ok();
        alice.put(&format!("{GLOBAL}/c"), text(30_000)).await.ok();
        // Others have totals of their own.
        let bob = server.register("bob").await;
        bob.put(&a.replace("alice", "bob"), text(40_000)).await.ok();
    }

    async fn many_small_pieces_count_as_well(db: TestDatabase) {
        let server = start(db, |totals| totals.account_data_bytes = 2_000).await;
        let alice = server.register("alice").await;
        let mut taken = 0;
        while alice.put(&format!("{GLOBAL}/t{taken}"), json!({})).await.status == 200 {
            taken += 1;
            assert!(taken < 100);
        }
        assert_eq!(taken, 15);
    }

    async fn types_and_filters_have_a_number(db: TestDatabase) {
        let server = start(db, |totals| {
            totals.account_data_types = 2;
            totals.filters = 2;
        })
        .await;
        let alice = server.register("alice").await;
        for n in 0..2 {
            alice.put(&format!("{GLOBAL}/t{n}"), json!({})).await.ok();
        }
        alice.put(&format!("{GLOBAL}/t2"), json!({})).await.refused(413, "M_TOO_LARGE");
        alice.put(&format!("{GLOBAL}/t1"), json!({ "a": 1 })).await.ok();
        let path = "/_matrix/client/v3/user/@alice:test/filter";
        let filter = |limit: usize| json!({ "room": { "timeline": { "limit": limit } } });
        for n in 0..2 {
            alice.post(path, filter(n)).await.ok();
        }
        alice.post(path, filter(2)).await.refused(413, "M_TOO_LARGE");
        alice.post(path, filter(1)).await.ok();
    }

    async fn one_login_too_many_ends_the_longest_unused_device(db: TestDatabase) {
        let clock = stoa_base::ManualClock::at(1_700_000_000_000);
        let server = TestServer::start_with(db, |config, environment| {
            config.limits.totals.devices = 3;
            environment.clock = clock.clone().into();
        })
        .await;
        let whoami = "/_matrix/client/v3/account/whoami";
        let first = server.register("alice").await;
        let pause = std::time::Duration::from_mins(10);
        clock.advance(pause);
        let second = log_in(&server, None).await;
        clock.advance(pause);
        // The first is used again, so that the second is the one not used for longest.
        first.get(whoami).await.ok();
        server.state().accounts.sessions.flush_last_seen().await.unwrap();
        clock.advance(pause);
        let third = log_in(&server, Some("PHONE")).await;
        for client in [&first, &second, &third] {
            client.get(whoami).await.ok();
        }
        clock.advance(pause);
        first.get(whoami).await.ok();
        third.get(whoami).await.ok();
        server.state().accounts.sessions.flush_last_seen().await.unwrap();
        let fourth = log_in(&server, None).await;
        second.get(whoami).await.refused(401, "M_UNKNOWN_TOKEN");
        for client in [&first, &third, &fourth] {
            client.get(whoami).await.ok();
        }
        // Logging in on an existing device logs out no other device.
        let third = log_in(&server, Some("PHONE")).await;
        for client in [&first, &third, &fourth] {
            client.get(whoami).await.ok();
        }
        for _ in 0..5 {
            log_in(&server, None).await;
        }
        let last = log_in(&server, None).await;
        let devices = last.get("/_matrix/client/v3/devices").await.ok();
        assert_eq!(devices["devices"].as_array().unwrap().len(), 3, "{devices}");
    }

    async fn joined_rooms_are_limited(db: TestDatabase) {
        let server = start(db, |totals| totals.joined_rooms = 2).await;
        let (alice, bob) = (server.register("alice").await, server.register("bob").await);
        let rooms = [alice.create_public_room().await, alice.create_public_room().await];
        let create = "/_matrix/client/v3/createRoom";
        alice.post(create, json!({})).await.refused(403, "M_FORBIDDEN");
        let other = bob.create_public_room().await;
        let join = format!("/_matrix/client/v3/rooms/{other}/join");
        alice.post(&join, json!({})).await.refused(403, "M_FORBIDDEN");
        let member = format!("/_matrix/client/v3/rooms/{other}/state/m.room.member/@alice:test");
        let joins = json!({ "membership": "join" });
        alice.put(&member, joins.clone()).await.refused(403, "M_FORBIDDEN");
        let member = member.replace(&other, &rooms[0]);
        alice.put(&member, json!({ "membership": "join", "displayname": "A" })).await.ok();
        // Joining again, and being invited, is not joining another one.
        alice.join(&rooms[0]).await;
        let invite = format!("/_matrix/client/v3/rooms/{other}/invite");
        bob.post(&invite, json!({ "user_id": "@alice:test" })).await.ok();
        let leave = format!("/_matrix/client/v3/rooms/{}/leave", rooms[1]);
        alice.post(&leave, json!({})).await.ok();
        alice.join(&other).await;
    }
}
