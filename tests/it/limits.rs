//! No user gets more than their share of the server, with any operation.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};
use stoa::router;
use stoa_config::Rate;
use stoa_testing::{
    PASSWORD, TestClient, TestDatabase, TestResponse, TestServer, both_databases, in_room,
};

const NAME: &str = "/_matrix/client/v3/profile/@alice:test/displayname";

fn rate(per_minute: u32, burst: u32) -> Rate {
    let number = |n: u32| n.try_into().expect("not zero");
    Rate { per_minute: number(per_minute), burst: number(burst) }
}

/// A server with the limits set by `change`. All others are very high.
async fn limited(db: &TestDatabase, change: impl FnOnce(&mut stoa_config::Limits)) -> TestServer {
    TestServer::start_with(db, |config, _| {
        config.limits.enabled = true;
        change(&mut config.limits);
    })
    .await
}

fn refused(answer: &TestResponse) {
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert!(answer.json()["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0));
    assert!(answer.headers.contains_key("retry-after"));
}

both_databases! {
    /// Every operation is refused when it is requested too often.
    async fn every_route_is_limited(db: TestDatabase) {
        let server = limited(db, |limits| {
            for rate in [
                &mut limits.messages, &mut limits.room_creation, &mut limits.profiles,
                &mut limits.writes, &mut limits.ephemeral, &mut limits.reads,
                &mut limits.heavy_reads, &mut limits.syncs, &mut limits.anonymous,
            ] {
                *rate = self::rate(1, 1);
            }
        }).await;
        for (n, route) in router::routes().table().iter().enumerate() {
            let path = route.path.replace(['{', '}'], "");
            if matches!(&*path, "/health" | "/ready") {
                continue;
            }
            // Each user has an address of their own.
            let address: SocketAddr = format!("[2001:db8:0:{n:x}::1]:1").parse().unwrap();
            let client = if route.needs_token {
                register_from(&server, &format!("u{n}"), address).await
            } else {
                server.client()
            };
            let ask = || {
                client.request(route.method.clone(), &path).body("{}").from(address).send()
            };
            let mut answer = ask().await;
            for _ in 0..40 {
                if answer.status != 429 {
                    answer = ask().await;
                }
            }
            refused(&answer);
        }
    }

    async fn a_new_name_costs_an_event_for_each_room(db: TestDatabase) {
        let server = limited(db, |limits| limits.profiles = rate(1, 6)).await;
        let alice = server.register("alice").await;
        for _ in 0..3 {
            alice.create_room(json!({})).await;
        }
        // Four, then two of the two that are left and two more.
        alice.put(NAME, json!({ "displayname": "A" })).await.ok();
        alice.put(NAME, json!({ "displayname": "B" })).await.ok();
        refused(&alice.put(NAME, json!({ "displayname": "C" })).await);
        assert_eq!(alice.get(NAME).await.ok()["displayname"], "B");
        // Fields that are not shown in rooms cost less, but not nothing.
        let other = NAME.replace("displayname", "org.example.note");
        refused(&alice.put(&other, json!({ "org.example.note": 1 })).await);
    }

    async fn a_room_costs_its_invites_and_initial_state(db: TestDatabase) {
        let server = limited(db, |limits| limits.room_creation = rate(1, 30)).await;
        let alice = server.register("alice").await;
        let state: Vec<Value> = (0..100)
            .map(|n| json!({ "type": "a.b", "state_key": n.to_string(), "content": {} }))
            .collect();
        let create = || alice.post("/_matrix/client/v3/createRoom", json!({ "initial_state": state }));
        create().await.ok();
        let again = create().await;
        refused(&again);
        assert!(again.json()["retry_after_ms"].as_u64().unwrap() > 70 * 60_000, "{:?}", again.json());
        // Creating rooms leaves the budget for messages alone.
        let bob = server.register("bob").await;
        let room = bob.create_public_room().await;
        alice.join(&room).await;
        alice.send(&room, "hello").await;
    }

    async fn typing_is_limited(db: TestDatabase) {
        let server = limited(db, |limits| limits.ephemeral = rate(1, 3)).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        let path = in_room(&room, "typing/@alice:test");
        for _ in 0..3 {
            alice.put(&path, json!({ "typing": true })).await.ok();
        }
        refused(&alice.put(&path, json!({ "typing": true })).await);
    }

    async fn a_waiting_sync_leaves_the_rest_of_the_budget_alone(db: TestDatabase) {
        let server = limited(db, |limits| {
            limits.reads = rate(1, 2);
            limits.heavy_reads = rate(1, 10);
            limits.syncs = rate(60, 50);
        }).await;
        let alice = server.register("alice").await;
        let first = alice.get("/_matrix/client/v3/sync").await.ok();
        let since = format!("/_matrix/client/v3/sync?since={}", first["next_batch"].as_str().unwrap());
        for _ in 0..20 {
            alice.get(&since).await.ok();
        }
        alice.get("/_matrix/client/v3/account/whoami").await.ok();
        // An initial one costs as much as the pages that it stands for, and may overdraw the budget
        // once.
        alice.get("/_matrix/client/v3/sync").await.ok();
        refused(&alice.get("/_matrix/client/v3/sync").await);
        refused(&alice.get(&format!("{since}&full_state=true")).await);
        alice.get(&since).await.ok();
    }

    async fn a_stolen_token_does_not_keep_its_user_from_ending_it(db: TestDatabase) {
        let server = limited(db, |limits| limits.writes = rate(1, 10)).await;
        let alice = register_from(&server, "alice", "192.0.2.1:1".parse().unwrap()).await;
        let ask = |method: Method, path: &str, body: Value, address: &str| {
            let request = alice.request(method, path).json(&body);
            request.from(address.parse().unwrap()).send()
        };
        // From its first use on, the token is known and counts for its user.
        alice.get("/_matrix/client/v3/account/whoami").await.ok();
        let path = "/_matrix/client/v3/user/@alice:test/account_data/a.b";
        for n in 0..10 {
            ask(Method::PUT, path, json!({ "n": n }), "203.0.113.1:1").await.ok();
        }
        refused(&ask(Method::PUT, path, json!({}), "203.0.113.1:1").await);
        let password = "/_matrix/client/v3/account/password";
        let auth = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": "alice" },
            "password": PASSWORD,
        });
        let body = json!({ "new_password": "another", "auth": auth });
        ask(Method::POST, password, body, "192.0.2.1:1").await.ok();
        let close = "/_matrix/client/v3/account/deactivate";
        assert_eq!(ask(Method::POST, close, json!({}), "192.0.2.1:1").await.status, 401);
        let all = "/_matrix/client/v3/logout/all";
        ask(Method::POST, all, json!({}), "192.0.2.1:1").await.ok();
    }

    async fn tokens_that_are_guessed_are_counted_by_address(db: TestDatabase) {
        let server = limited(db, |limits| limits.anonymous = rate(1, 5)).await;
        let guess = |n: u32, address: &str| {
            let client = server.client().with_token(&format!("guess{n}"));
            let request = client.request(Method::GET, "/_matrix/client/v3/account/whoami");
            request.from(address.parse().unwrap()).send()
        };
        for n in 0..5 {
            guess(n, &format!("[2001:db8::{n}]:1")).await.refused(401, "M_UNKNOWN_TOKEN");
        }
        refused(&guess(5, "[2001:db8::5]:1").await);
        guess(6, "[2001:db8:0:1::1]:1").await.refused(401, "M_UNKNOWN_TOKEN");
    }
}

async fn register_from(server: &TestServer, name: &str, address: SocketAddr) -> TestClient {
    let request = json!({
        "auth": { "type": "m.login.dummy" }, "username": name, "password": PASSWORD,
    });
    let client = server.client();
    let register = client.request(Method::POST, "/_matrix/client/v3/register").json(&request);
    client.with_session(&register.from(address).send().await.ok())
}
