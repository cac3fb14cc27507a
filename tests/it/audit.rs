//! Operations over HTTP, and the entries that they leave in the audit log.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha1::Sha1;
use stoa::router;
use stoa_http::Audited;
use stoa_testing::{
    PASSWORD, TestClient, TestDatabase, TestServer, both_databases, encode, in_room, surgery,
};

const LOGIN: &str = "/_matrix/client/v3/login";
const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

/// A server, and how much of its audit log was already checked.
struct Site {
    server: TestServer,
    seen: usize,
}

impl Site {
    async fn start(db: &TestDatabase) -> Self {
        Self { server: TestServer::start(db).await, seen: 0 }
    }

    /// The new entries.
    async fn news(&mut self) -> Vec<Value> {
        let entries = surgery::audit_entries(&self.server.state().store).await;
        let news = entries[self.seen..].iter().map(|entry| serde_json::from_str(entry).unwrap());
        let news = news.collect();
        self.seen = entries.len();
        news
    }

    /// The actions of the new entries.
    async fn actions(&mut self) -> Vec<String> {
        let news = self.news().await;
        news.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    }

    /// The only new entry.
    async fn only(&mut self) -> Value {
        let [entry] = <[Value; 1]>::try_from(self.news().await).unwrap();
        entry
    }
}

fn login(user: &str, password: &str) -> Value {
    json!({ "type": "m.login.password", "user": user, "password": password })
}

/// Posts with the password, as interactive authentication asks for it.
async fn confirmed(client: &TestClient, path: &str, mut request: Value) {
    let challenge = client.post(path, request.clone()).await;
    request["auth"] = json!({
        "type": "m.login.password", "session": challenge.json()["session"], "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": client.user_id },
    });
    client.post(path, request).await.ok();
}

both_databases! {
    async fn accounts_and_sessions(db: TestDatabase) {
        let mut site = Site::start(db).await;
        let alice = site.server.register("alice").await;
        let [created, begun] = <[Value; 2]>::try_from(site.news().await).unwrap();
        assert_eq!(created["action"], "account.created");
        assert_eq!(created["details"], json!({ "admin": false, "origin": "registration" }));
        assert_eq!(begun["action"], "session.begun");
        assert_eq!(begun["details"]["origin"], "registration");
        for entry in [&created, &begun] {
            assert_eq!((&entry["actor"], &entry["target"]), (&json!("@alice:test"), &json!("@alice:test")));
            assert_eq!(entry["outcome"], "done");
            assert!(entry["at_ms"].as_i64().unwrap() > 1_700_000_000_000);
        }
        assert_eq!(begun["device"], alice.device_id.as_str());

        let request = site.server.client().request(Method::POST, LOGIN);
        let request = request.json(&login("alice", PASSWORD)).from("192.0.2.7:1".parse().unwrap());
        let phone = alice.with_session(&request.send().await.ok());
        let begun = site.only().await;
        assert_eq!(begun["action"], "session.begun");
        assert_eq!(begun["address"], "192.0.2.7");
        assert_eq!(begun["device"], phone.device_id.as_str());

        phone.post("/_matrix/client/v3/logout", json!({})).await.ok();
        let ended = site.only().await;
        assert_eq!(ended["action"], "session.ended");
        assert_eq!(ended["device"], phone.device_id.as_str());
        assert_eq!(ended["details"]["reason"], "logout");

        site.server.log_in(&alice).await;
        site.news().await;
        let path = "/_matrix/client/v3/account/password";
        confirmed(&alice, path, json!({ "new_password": PASSWORD })).await;
        let [changed, ended] = <[Value; 2]>::try_from(site.news().await).unwrap();
        assert_eq!(changed["action"], "account.password_changed");
        assert_eq!(ended["action"], "session.ended");
        assert_eq!(ended["details"], json!({
            "reason": "password_changed", "all": true, "except_device": alice.device_id,
        }));
        let keep = json!({ "new_password": PASSWORD, "logout_devices": false });
        confirmed(&alice, path, keep).await;
        assert_eq!(site.actions().await, ["account.password_changed"]);

        alice.post("/_matrix/client/v3/logout/all", json!({})).await.ok();
        let ended = site.only().await;
        assert_eq!(ended["details"], json!({ "reason": "logout_all", "all": true }));

        let users = std::sync::Arc::clone(&site.server.state().accounts.users);
        let admin = stoa_base::Actor::user("@admin:test".try_into().unwrap());
        let alice = "@alice:test".try_into().unwrap();
        assert!(users.deactivate(&admin, alice).await.unwrap());
        let [closed, ended] = <[Value; 2]>::try_from(site.news().await).unwrap();
        assert_eq!((&closed["action"], &closed["actor"]), (&json!("account.deactivated"), &json!("@admin:test")));
        assert_eq!(ended["details"]["reason"], "deactivated");
        assert!(!users.deactivate(&admin, "@nobody:test".try_into().unwrap()).await.unwrap());
        assert_eq!(site.actions().await, [""; 0]);
    }

    async fn a_refresh_is_routine_and_a_copied_token_is_not(db: TestDatabase) {
        let mut site = Site::start(db).await;
        site.server.register("alice").await;
        let client = site.server.client();
        let mut request = login("alice", PASSWORD);
        request["refresh_token"] = true.into();
        let first = client.post(LOGIN, request).await.ok();
        site.news().await;
        let refresh = async |tokens: &Value| {
            let request = json!({ "refresh_token": tokens["refresh_token"] });
            client.post("/_matrix/client/v3/refresh", request).await
        };
        let second = refresh(&first).await.ok();
        let user = client.with_token(second["access_token"].as_str().unwrap());
        user.get(WHOAMI).await.ok();
        assert_eq!(site.actions().await, [""; 0]);
        for _ in 0..2 {
            refresh(&first).await.refused(401, "M_UNKNOWN_TOKEN");
        }
        user.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
        let ended = site.only().await;
        assert_eq!((&ended["action"], &ended["actor"]), (&json!("session.ended"), &Value::Null));
        assert_eq!(ended["target"], "@alice:test");
        assert_eq!(ended["details"]["reason"], "refresh_token_reused");
        assert_eq!(ended["details"]["device"], first["device_id"]);
    }

    async fn failed_logins_are_counted(db: TestDatabase) {
        let mut site = Site::start(db).await;
        site.server.register("alice").await;
        site.news().await;
        let client = site.server.client();
        let attempt = async |user: &str, address: &str| {
            let request = client.request(Method::POST, LOGIN).json(&login(user, "wrong"));
            request.from(address.parse().unwrap()).send().await.refused(403, "M_FORBIDDEN");
        };
        for _ in 0..5 {
            attempt("alice", "192.0.2.1:1").await;
            attempt("@alice:test", "[2001:db8::1]:1").await;
        }
        attempt("nobody", "[2001:db8::2]:1").await;
        assert_eq!(site.actions().await, [""; 0]);
        site.server.state().housekeep().await;
        let mut news = site.news().await;
        news.sort_by_key(|entry| (entry["target"].to_string(), entry["address"].to_string()));
        let told: Vec<_> = news
            .iter()
            .map(|entry| {
                assert_eq!((&entry["action"], &entry["outcome"]), (&json!("login.failed"), &json!("refused")));
                let text = |key: &str| entry[key].as_str().unwrap();
                let wrong = entry["details"]["wrong_passwords"].as_u64().unwrap();
                (text("target"), text("address"), wrong)
            })
            .collect();
        assert_eq!(told, [
            ("@alice:test", "192.0.2.1", 5), ("@alice:test", "2001:db8::/64", 5),
            ("@nobody:test", "2001:db8::/64", 1),
        ]);
        site.server.state().housekeep().await;
        assert_eq!(site.actions().await, [""; 0]);
    }

    async fn memberships_that_somebody_else_ends(db: TestDatabase) {
        let mut site = Site::start(db).await;
        let alice = site.server.register("alice").await;
        let bob = site.server.register("bob").await;
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        bob.leave(&room).await;
        alice.invite(&room, "@bob:test").await;
        bob.join(&room).await;
        site.news().await;

        let member = |membership: &str| json!({ "membership": membership });
        let user = json!({ "user_id": "@bob:test", "reason": "a secret of theirs" });
        let state = in_room(&room, "state/m.room.member/@bob:test");
        let changes = [
            ("kick", user.clone(), "membership.kicked"),
            ("ban", user.clone(), "membership.banned"),
            ("unban", user.clone(), "membership.unbanned"),
            ("state", member("ban"), "membership.banned"),
            ("state", member("leave"), "membership.unbanned"),
            ("state", member("invite"), ""),
            ("state", member("leave"), "membership.kicked"),
        ];
        for (operation, body, action) in changes {
            let answer = match operation {
                "state" => alice.put(&state, body).await,
                operation => alice.post(&in_room(&room, operation), body).await,
            };
            answer.ok();
            if action.is_empty() {
                assert_eq!(site.actions().await, [""; 0]);
                continue;
            }
            let entry = site.only().await;
            assert_eq!(entry["action"], action, "{operation}");
            assert_eq!((&entry["actor"], &entry["target"]), (&json!("@alice:test"), &json!("@bob:test")));
            assert_eq!(entry["device"], alice.device_id.as_str());
            let event = alice.get(&format!("{state}?format=event")).await.ok();
            let details = json!({ "room": room, "event": event["event_id"] });
            assert_eq!(entry["details"], details);
            assert!(!entry.to_string().contains("secret"));
        }
        // A refused operation changes nothing, and a user's own membership changes are not audited.
        bob.post(&in_room(&room, "ban"), json!({ "user_id": "@alice:test" })).await.refused(403, "M_FORBIDDEN");
        bob.join(&room).await;
        bob.leave(&room).await;
        assert_eq!(site.actions().await, [""; 0]);

        let banned = json!({ "type": "m.room.member", "state_key": "@bob:test", "content": member("ban") });
        alice.create_room(json!({ "initial_state": [banned] })).await;
        assert_eq!(site.actions().await, ["membership.banned"]);
    }

    async fn the_log_of_a_server_is_intact_until_it_is_changed(db: TestDatabase) {
        let site = Site::start(db).await;
        let alice = site.server.register("alice").await;
        alice.post("/_matrix/client/v3/logout/all", json!({})).await.ok();
        let state = site.server.state();
        let verify = async || {
            stoa::audit::verify(&state.store, &state.config.server_name, None).await.unwrap()
        };
        let intact = verify().await;
        assert_eq!((intact.entries, intact.links, intact.fault), (3, 2, None));
        surgery::falsify_audit(&state.store, "@alice:test", "@mallory:test").await;
        let changed = verify().await;
        assert!(changed.fault.unwrap().contains("does not fit"));
        assert_eq!((changed.entries, changed.links), (0, 0));
    }

    // Fails for an operation that is marked as audited but not tried here.
    async fn every_audited_operation_leaves_an_entry(db: TestDatabase) {
        let server = TestServer::start_with(db, |config, _| {
            config.registration.shared_secret = serde_json::from_value("complement".into()).ok();
        })
        .await;
        let mut site = Site { server, seen: 0 };
        let routes = router::routes();
        let operations = routes.table().iter().filter_map(|route| route.operation);
        let audited: BTreeSet<_> = operations
            .filter(|operation| operation.audited == Some(Audited::Yes))
            .map(|operation| format!("{} {}", operation.method, operation.path))
            .collect();
        for (number, operation) in audited.iter().enumerate() {
            let left = perform(&mut site, operation, &format!("u{number}")).await;
            let expected = expected(operation);
            assert_eq!(left, expected, "{operation}");
        }
    }
}

/// The entries that an operation leaves when [`perform`] carries it out.
fn expected(operation: &str) -> &'static [&'static str] {
    match operation {
        "POST /_matrix/client/v3/login" => &["session.begun"],
        "POST /_matrix/client/v3/refresh"
        | "POST /_matrix/client/v3/logout"
        | "POST /_matrix/client/v3/logout/all" => &["session.ended"],
        "POST /_matrix/client/v3/register" | "POST /_synapse/admin/v1/register" => {
            &["account.created", "session.begun"]
        }
        "POST /_matrix/client/v3/account/password" => {
            &["account.password_changed", "session.ended"]
        }
        "POST /_matrix/client/v3/account/deactivate" => &["account.deactivated", "session.ended"],
        "POST /_matrix/client/v3/rooms/{room_id}/kick" => &["membership.kicked"],
        "POST /_matrix/client/v3/createRoom"
        | "POST /_matrix/client/v3/rooms/{room_id}/ban"
        | "PUT /_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}" => {
            &["membership.banned"]
        }
        "POST /_matrix/client/v3/rooms/{room_id}/unban" => &["membership.unbanned"],
        other => panic!("{other} is said to be audited, and nothing here tries it"),
    }
}

/// Carries out an operation for users whose names begin with `name`, and returns the actions of the
/// entries that it left.
async fn perform(site: &mut Site, operation: &str, name: &str) -> Vec<String> {
    let user = site.server.register(name).await;
    let other = site.server.register(&format!("{name}b")).await;
    let room = user.create_public_room().await;
    other.join(&room).await;
    let anybody = site.server.client();
    let about_other = json!({ "user_id": other.user_id });
    let banned = json!({ "membership": "ban" });
    let (_, path) = operation.split_once(' ').unwrap();
    let path = path.replace("{room_id}", &encode(&room));
    site.news().await;
    match operation {
        "POST /_matrix/client/v3/login" => {
            anybody.post(&path, login(name, PASSWORD)).await.ok();
        }
        "POST /_matrix/client/v3/refresh" => {
            let mut request = login(name, PASSWORD);
            request["refresh_token"] = true.into();
            let first = anybody.post(LOGIN, request).await.ok();
            let old = json!({ "refresh_token": first["refresh_token"] });
            let second = anybody.post(&path, old.clone()).await.ok();
            anybody.with_token(second["access_token"].as_str().unwrap()).get(WHOAMI).await.ok();
            site.news().await;
            anybody.post(&path, old).await.refused(401, "M_UNKNOWN_TOKEN");
        }
        "POST /_matrix/client/v3/register" => {
            site.server.register(&format!("{name}c")).await;
        }
        "POST /_synapse/admin/v1/register" => {
            let nonce = anybody.get(&path).await.ok()["nonce"].as_str().unwrap().to_owned();
            let new = format!("{name}c");
            let mut mac = Hmac::<Sha1>::new_from_slice(b"complement").unwrap();
            mac.update([&nonce, &new, PASSWORD, "notadmin"].join("\0").as_bytes());
            let digits = mac.finalize().into_bytes();
            let mac: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
            let request = json!({
                "nonce": nonce, "username": new, "password": PASSWORD, "mac": mac,
            });
            anybody.post(&path, request).await.ok();
        }
        "POST /_matrix/client/v3/account/password" => {
            confirmed(&user, &path, json!({ "new_password": PASSWORD })).await;
        }
        "POST /_matrix/client/v3/account/deactivate" => {
            confirmed(&user, &path, json!({})).await;
        }
        "POST /_matrix/client/v3/createRoom" => {
            let ban = json!({
                "type": "m.room.member", "state_key": other.user_id, "content": banned,
            });
            user.post(&path, json!({ "initial_state": [ban] })).await.ok();
        }
        "POST /_matrix/client/v3/rooms/{room_id}/unban" => {
            user.post(&in_room(&room, "ban"), about_other.clone()).await.ok();
            site.news().await;
            user.post(&path, about_other).await.ok();
        }
        "PUT /_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}" => {
            user.set_state(&room, "m.room.member", &other.user_id, banned).await;
        }
        _ => {
            user.post(&path, about_other).await.ok();
        }
    }
    site.actions().await
}
