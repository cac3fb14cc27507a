//! The cost of reading a whole room, or writing to all rooms of a user, counted: there is no query
//! per member or room.

use serde_json::json;
use stoa_storage::StatementKind;
use stoa_testing::{TestServer, both_databases, encode, in_room};

use crate::costs::{fill, quiet_server};

/// The number of statements that the request at `path` takes on a node that has just started and
/// has answered one request of another kind.
async fn reads(server: &TestServer, token: &str, path: &str) -> u64 {
    let store = server.state().store.clone();
    let client = server.client().with_token(token);
    client.get("/_matrix/client/v3/account/whoami").await.ok();
    let before = store.statements();
    client.get(path).await.ok();
    let after = store.statements();
    let reads = |counts: &[(StatementKind, u64)]| {
        counts.iter().find(|(kind, _)| *kind == StatementKind::Read).unwrap().1
    };
    reads(&after) - reads(&before)
}

both_databases! {
    async fn a_whole_room_is_read_in_pages(db: TestDatabase) {
        const MEMBERS: usize = 1_200;
        let server = quiet_server(db).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        fill(&server, &room, MEMBERS).await;
        let sent = alice.send(&room, "hello").await;
        let token = alice.token().unwrap().to_owned();
        server.stop().await;
        let sent = encode(&sent);
        let lazily = encode(r#"{"lazy_load_members":true}"#);
        let full = encode(r#"{"room":{"timeline":{"limit":1}}}"#);
        for (path, most) in [
            // The room and the reader, the weight of the answer, the levels of the tree, and pages
            // of events. The depth of the tree differs by some levels with the hashes of the state
            // keys, so the limit is above the usual number.
            (in_room(&room, "state"), 26),
            (in_room(&room, "members"), 26),
            (in_room(&room, "joined_members"), 16),
            (in_room(&room, &format!("context/{sent}")), 34),
            (in_room(&room, &format!("context/{sent}?filter={lazily}")), 26),
            (in_room(&room, &format!("messages?dir=b&limit=100&filter={lazily}")), 24),
            (format!("/_matrix/client/v3/sync?filter={full}"), 40),
        ] {
            // Nothing is in memory.
            let server = quiet_server(db).await;
            let reads = reads(&server, &token, &path).await;
            server.stop().await;
            println!("{reads} statements for {path}");
            assert!(reads <= most, "{reads} for {path}");
        }
    }

    async fn all_rooms_of_a_user_are_found_at_once(db: TestDatabase) {
        let server = quiet_server(db).await;
        let alice = server.register("alice").await;
        for _ in 0..30 {
            alice.create_room(json!({})).await;
        }
        let token = alice.token().unwrap().to_owned();
        server.stop().await;
        let server = quiet_server(db).await;
        let reads = reads(&server, &token, "/_matrix/client/v3/joined_rooms").await;
        assert!(reads <= 6, "{reads}");
    }
}
