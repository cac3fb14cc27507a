//! A null character, which PostgreSQL cannot store, gives a client error and never a server error,
//! wherever a path takes a text. The routes come from the router's own table, so none can be
//! forgotten here.

use serde_json::json;
use stoa::router;
use stoa_testing::{TestServer, both_databases};

/// The variables of a path.
fn variables(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

/// A valid value for a variable, in an existing room.
fn value(variable: &str, room: &str, event: &str) -> String {
    // Written as `room_id` or as `roomId`.
    match variable.replace('_', "").to_ascii_lowercase().as_str() {
        "roomid" | "roomidoralias" => room.to_owned(),
        "eventid" => event.to_owned(),
        "userid" => "@alice:test".to_owned(),
        "roomalias" => "#a:test".to_owned(),
        "eventtype" => "m.room.topic".to_owned(),
        "receipttype" => "m.read".to_owned(),
        _ => "a".to_owned(),
    }
}

both_databases! {
    async fn no_path_with_a_null_is_a_fault_of_the_server(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let event = alice.send(&room, "hello").await;
        let (mut tried, mut faults) = (0, Vec::new());
        for route in router::routes().table() {
            let variables = variables(&route.path);
            for with_null in &variables {
                let mut path = route.path.clone();
                for variable in &variables {
                    let mut text = value(variable, &room, &event).replace('#', "%23");
                    if variable == with_null {
                        // After the sigil, where there is one.
                        text.insert_str(if text.starts_with("%23") { 3 } else { 1 }, "%00");
                    }
                    path = path.replace(&format!("{{{variable}}}"), &text);
                }
                let answer = alice.request(route.method.clone(), &path).body("{}").send().await;
                tried += 1;
                if answer.status.is_server_error() {
                    faults.push(format!("{} {path}: {}", route.method, answer.status));
                }
            }
        }
        assert!(tried > 100, "only {tried} paths were tried");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    async fn no_body_or_query_with_a_null_is_a_fault_of_the_server(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let event = alice.send(&room, "hello").await;
        let nul = "a\0b";
        let receipt = format!("/_matrix/client/v3/rooms/{room}/receipt/m.read/{event}");
        for (path, body) in [
            ("/_matrix/client/v3/login", json!({ "type": "m.login.password", "password": nul,
                "identifier": { "type": "m.id.user", "user": nul } })),
            ("/_matrix/client/v3/login", json!({ "type": "m.login.token", "token": nul })),
            ("/_matrix/client/v3/refresh", json!({ "refresh_token": nul })),
            ("/_matrix/client/v3/register", json!({ "username": nul, "password": nul })),
            ("/_matrix/client/v3/register",
                json!({ "auth": { "type": "m.login.dummy", "session": nul } })),
            ("/_matrix/client/v3/createRoom", json!({ "room_alias_name": nul })),
            ("/_matrix/client/v3/createRoom", json!({ "name": nul, "topic": nul })),
            (&receipt, json!({ "thread_id": nul })),
            ("/_matrix/client/v3/publicRooms", json!({ "since": nul,
                "filter": { "generic_search_term": nul } })),
        ] {
            let answer = alice.post(path, body.clone()).await;
            assert!(!answer.status.is_server_error(), "{path} {body}: {}", answer.status);
        }
        for path in [
            "/_matrix/client/v3/sync?since=a%00b".to_owned(),
            "/_matrix/client/v3/sync?filter=a%00b".to_owned(),
            format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&from=a%00b"),
            format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&filter=a%00b"),
            format!("/_matrix/client/v3/rooms/{room}/members?at=a%00b"),
            "/_matrix/client/v3/register/available?username=a%00b".to_owned(),
            "/_matrix/client/v3/publicRooms?since=a%00b".to_owned(),
        ] {
            let answer = alice.get(&path).await;
            assert!(!answer.status.is_server_error(), "{path}: {}", answer.status);
        }
    }
}
