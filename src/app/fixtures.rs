//! Databases of older versions, which every later version must open and keep working with.
//!
//! `migrations/fixtures/` holds the database of a small server for each released schema, on SQLite
//! and on PostgreSQL. [`make`] creates those of the current schema:
//!
//! ```sh
//! cargo test -p stoa --lib app::fixtures::make -- --ignored
//! ```

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use stoa_testing::{
    Backend, PASSWORD, TestClient, TestDatabase, TestServer, both_databases, encode, in_room,
};

/// The number of the newest migration, after which the created fixture is named.
const PRESENT: &str = "0001";

/// The versions of the rooms in a fixture.
const VERSIONS: [&str; 7] = ["6", "7", "8", "9", "10", "11", "12"];

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/fixtures"))
}

const fn ending(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "sqlite.sql",
        Backend::Postgres => "postgres.sql",
    }
}

async fn start(db: &TestDatabase) -> TestServer {
    let server_name = "localhost".try_into().expect("a server name");
    TestServer::start_with(db, |config, _| config.server_name = server_name).await
}

async fn log_in(server: &TestServer, name: &str) -> TestClient {
    let request = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": name },
    });
    let client = server.client();
    let session = client.post("/_matrix/client/v3/login", request).await.ok();
    client.with_session(&session)
}

/// Fills a server with the contents of a fixture.
async fn fill(server: &TestServer) {
    let alice = server.register("alice").await;
    let [bob, carol] = [server.register("bob").await, server.register("carol").await];
    server.log_in(&alice).await;
    let profile = "/_matrix/client/v3/profile/@bob:localhost/displayname";
    bob.put(profile, json!({ "displayname": "Bob" })).await.ok();
    let data = "/_matrix/client/v3/user/@bob:localhost/account_data/org.example.colour";
    bob.put(data, json!({ "colour": "green" })).await.ok();
    for version in VERSIONS {
        let room = alice
            .create_room(json!({
                "preset": "public_chat", "room_version": version, "visibility": "public",
                "name": format!("Version {version}"), "room_alias_name": format!("v{version}"),
            }))
            .await;
        bob.join(&room).await;
        carol.join(&room).await;
        alice.send(&room, "first").await;
        let redacted = bob.send(&room, "regretted").await;
        bob.redact(&room, &redacted).await;
        alice.set_state(&room, "m.room.topic", "", json!({ "topic": "Old rooms" })).await;
        let last = alice.send(&room, "last").await;
        bob.post(&in_room(&room, &format!("receipt/m.read/{}", encode(&last))), json!({}))
            .await
            .ok();
        carol.leave(&room).await;
    }
}

/// The only room in the list with this name.
fn room_of_version(listed: &Value, version: &str) -> String {
    let name = format!("Version {version}");
    let mut rooms = listed["chunk"].as_array().expect("rooms").iter();
    let room = rooms.find(|room| room["name"] == name.as_str()).expect("a room of the version");
    room["room_id"].as_str().expect("a room ID").to_owned()
}

/// Checks that everything in a fixture is still there and that the server works with it.
async fn check(server: &TestServer) {
    let [alice, bob] = [log_in(server, "alice").await, log_in(server, "bob").await];
    let devices = alice.get("/_matrix/client/v3/devices").await.ok();
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(3), "{devices}");
    let profile = bob.get("/_matrix/client/v3/profile/@bob:localhost").await.ok();
    assert_eq!(profile["displayname"], "Bob");
    let synced = bob.get("/_matrix/client/v3/sync").await.ok();
    let is_colour = |event: &Value| event["content"] == json!({ "colour": "green" });
    assert!(synced["account_data"]["events"].as_array().expect("data").iter().any(is_colour));

    let listed = alice.get("/_matrix/client/v3/publicRooms").await.ok();
    for version in VERSIONS {
        let room = room_of_version(&listed, version);
        let alias = format!("/_matrix/client/v3/directory/room/%23v{version}:localhost");
        assert_eq!(alice.get(&alias).await.ok()["room_id"], room.as_str());
        let create = alice.state(&room, "m.room.create", "").await;
        assert_eq!(create["room_version"], version);
        assert_eq!(alice.state(&room, "m.room.topic", "").await["topic"], "Old rooms");
        let carol = alice.state(&room, "m.room.member", "@carol:localhost").await;
        assert_eq!(carol["membership"], "leave");
        let ephemeral = &synced["rooms"]["join"][&room]["ephemeral"]["events"];
        assert!(ephemeral.to_string().contains("@bob:localhost"), "the receipt: {ephemeral}");

        let new = bob.send(&room, "new").await;
        alice.set_state(&room, "m.room.topic", "", json!({ "topic": "Still in use" })).await;
        let history = alice.get(&in_room(&room, "messages?dir=b&limit=100")).await.ok();
        let events = history["chunk"].as_array().expect("events");
        let messages = events.iter().filter(|event| event["type"] == "m.room.message");
        let bodies: Vec<_> = messages.map(|event| event["content"]["body"].as_str()).collect();
        assert_eq!(bodies, [Some("new"), Some("last"), None, Some("first")], "version {version}");
        assert_eq!(alice.event(&room, &new).await["content"]["body"], "new");
    }
    let since = synced["next_batch"].as_str().expect("a token");
    let news = bob.get(&format!("/_matrix/client/v3/sync?since={since}")).await.ok();
    assert_eq!(news["rooms"]["join"].as_object().map(serde_json::Map::len), Some(VERSIONS.len()));
}

/// Checks that the tokens of an old database are still valid and can be refreshed like others.
async fn check_tokens(server: &TestServer) {
    let whoami = async |token: &str| {
        server.client().with_token(token).get("/_matrix/client/v3/account/whoami").await
    };
    let refresh = async |token: &str| {
        let path = "/_matrix/client/v3/refresh";
        server.client().post(path, json!({ "refresh_token": token })).await
    };
    assert_eq!(whoami("stoa_access_old").await.ok()["device_id"], "OLD");
    let tokens = refresh("stoa_refresh_old").await.ok();
    let new = tokens["access_token"].as_str().expect("a token");
    assert_eq!(whoami(new).await.ok()["device_id"], "OLD");
    whoami("stoa_access_old").await.refused(401, "M_UNKNOWN_TOKEN");
    refresh("stoa_refresh_old").await.refused(401, "M_UNKNOWN_TOKEN");
    whoami(new).await.refused(401, "M_UNKNOWN_TOKEN");

    assert_eq!(whoami("stoa_access_parent").await.ok()["device_id"], "REFRESHED");
    assert_eq!(whoami("stoa_access_child").await.ok()["device_id"], "REFRESHED");
    whoami("stoa_access_parent").await.refused(401, "M_UNKNOWN_TOKEN");
    whoami("stoa_access_child").await.ok();
}

both_databases! {
    async fn old_databases_are_opened(db: TestDatabase) {
        let mut names: Vec<PathBuf> =
            fs::read_dir(folder()).expect("a folder").map(|file| file.expect("a file").path()).collect();
        names.retain(|name| name.to_string_lossy().ends_with(ending(db.backend())));
        assert!(!names.is_empty());
        for name in names {
            let db = TestDatabase::create(db.backend()).await.expect("a database");
            let is_first = name.ends_with(format!("0001.{}", ending(db.backend())));
            db.load(&fs::read_to_string(name).expect("a fixture")).await;
            if is_first {
                let tokens = fs::read_to_string(folder().join("tokens.sql")).expect("tokens");
                db.load(&tokens).await;
            }
            let server = start(&db).await;
            check(&server).await;
            if is_first {
                check_tokens(&server).await;
            }
            server.stop().await;
        }
    }

    #[ignore = "it writes the fixtures of the present schema"]
    async fn make(db: TestDatabase) {
        let server = start(db).await;
        fill(&server).await;
        server.stop().await;
        let file = folder().join(format!("{PRESENT}.{}", ending(db.backend())));
        fs::write(file, db.dump()).expect("a fixture");
    }
}
