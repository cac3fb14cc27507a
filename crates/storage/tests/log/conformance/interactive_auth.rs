use stoa_storage::{
    log::InteractiveResultRow,
    repo::interactive_auth::{self, InteractiveAuthRow},
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, long_text, refused};
use crate::{with, write};

fn session(operation: &str, body_hash: Option<&str>) -> InteractiveAuthRow {
    InteractiveAuthRow {
        operation: operation.to_owned(),
        user_id: None,
        body_hash: body_hash.map(str::to_owned),
        completed: "[]".to_owned(),
        result: None,
    }
}

type Columns = (String, Option<String>, Option<String>, String, Option<String>);

fn columns(row: InteractiveAuthRow) -> Columns {
    let InteractiveAuthRow { operation, user_id, body_hash, completed, result } = row;
    (operation, user_id.map(|user_id| user_id.to_string()), body_hash, completed, result)
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(interactive_auth::find(&mut conn, "a", i64::MIN).await.unwrap().is_none());
        interactive_auth::trim(&mut conn, "a", 0).await.unwrap();
        assert_eq!(interactive_auth::prune(&mut conn, i64::MAX).await.unwrap(), 0);
    }

    async fn a_session_is_found_until_it_is_too_old(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let full = InteractiveAuthRow {
            user_id: Some(alice().to_owned()),
            completed: r#"["m.login.password"]"#.to_owned(),
            ..session("delete_device", Some("body"))
        };
        let empty = session("register", None);
        for (hash, session) in [("a", &full), ("b", &empty)] {
            let done = interactive_auth::complete(&mut conn, hash, session, 100, "alice").await;
            assert!(done.unwrap());
        }
        for (hash, expected) in [("a", full), ("b", empty)] {
            let found = interactive_auth::find(&mut conn, hash, 100).await.unwrap().unwrap();
            assert_eq!(columns(found), columns(expected));
            assert!(interactive_auth::find(&mut conn, hash, 101).await.unwrap().is_none());
        }
        assert!(interactive_auth::find(&mut conn, "A", 0).await.unwrap().is_none());
    }

    async fn a_session_is_bound_to_its_first_request(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut conn = node.store.write().await.unwrap();
        for (body_hash, completed, is_bound) in [
            (None, "[1]", true), (Some("one"), "[2]", true), (Some("one"), "[3]", true),
            (Some("two"), "[4]", false), (None, "[5]", false),
        ] {
            let session = InteractiveAuthRow {
                completed: completed.to_owned(), ..session("register", body_hash)
            };
            let done = interactive_auth::complete(&mut conn, "a", &session, 100, "alice").await;
            assert_eq!(done.unwrap(), is_bound, "{completed}");
        }
        conn.commit().await.unwrap();
        let result = InteractiveResultRow {
            session_hash: "a".to_owned(), result: r#"{"user_id":1}"#.to_owned(),
        };
        write(&node, with(|append| append.interactive_results.push(result))).await;
        let mut conn = node.store.read().await.unwrap();
        let found = interactive_auth::find(&mut conn, "a", 0).await.unwrap().unwrap();
        assert_eq!(columns(found), ("register".to_owned(), None, Some("one".to_owned()),
            "[3]".to_owned(), Some(r#"{"user_id":1}"#.to_owned())));
    }

    async fn the_newest_sessions_of_a_requester_are_kept(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (hash, created_ms, requester) in
            [("a", 1, "alice"), ("b", 3, "alice"), ("c", 2, "alice"), ("d", 1, "bob")]
        {
            let new = session("register", None);
            interactive_auth::complete(&mut conn, hash, &new, created_ms, requester).await.unwrap();
        }
        for (limit, left) in [(i64::MAX, "abcd"), (3, "abcd"), (1, "bd"), (0, "d")] {
            interactive_auth::trim(&mut conn, "alice", limit).await.unwrap();
            let mut found = String::new();
            for hash in ["a", "b", "c", "d"] {
                if interactive_auth::find(&mut conn, hash, 0).await.unwrap().is_some() {
                    found += hash;
                }
            }
            assert_eq!(found, left, "{limit}");
        }
    }

    async fn old_sessions_are_pruned(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (hash, created_ms) in [("a", 99), ("b", 100), ("c", 101)] {
            let new = session("register", None);
            interactive_auth::complete(&mut conn, hash, &new, created_ms, "").await.unwrap();
        }
        assert_eq!(interactive_auth::prune(&mut conn, 100).await.unwrap(), 1);
        assert!(interactive_auth::find(&mut conn, "a", 0).await.unwrap().is_none());
        assert!(interactive_auth::find(&mut conn, "b", 0).await.unwrap().is_some());
        assert_eq!(interactive_auth::prune(&mut conn, i64::MAX).await.unwrap(), 2);
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let long = long_text();
        for text in UNUSUAL {
            let new = InteractiveAuthRow { completed: long.clone(), ..session(text, Some(text)) };
            let done = interactive_auth::complete(&mut conn, text, &new, i64::MAX, text).await;
            assert!(done.unwrap());
            let found = interactive_auth::find(&mut conn, text, i64::MAX).await.unwrap().unwrap();
            assert_eq!(columns(found), columns(new));
            interactive_auth::trim(&mut conn, text, 1).await.unwrap();
        }
        refused(interactive_auth::find(&mut conn, "a\0b", 1).await);
        let new = session("register", None);
        refused(interactive_auth::complete(&mut conn, "a\0b", &new, 1, "").await);
        refused(interactive_auth::complete(&mut conn, "a", &new, 1, "a\0b").await);
        refused(interactive_auth::trim(&mut conn, "a\0b", 1).await);
    }
}
