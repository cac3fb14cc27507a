use stoa_storage::repo::interactive_auth::{self, InteractiveAuthRow};
use stoa_testing::both_databases;

use super::{UNUSUAL, alice, long_text, refused};

fn session(operation: &str) -> InteractiveAuthRow {
    InteractiveAuthRow {
        operation: operation.to_owned(),
        user_id: None,
        body_hash: None,
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
        assert!(!interactive_auth::complete(&mut conn, "a", "[]", "hash").await.unwrap());
        interactive_auth::set_result(&mut conn, "a", "{}").await.unwrap();
        assert_eq!(interactive_auth::prune(&mut conn, i64::MAX).await.unwrap(), 0);
    }

    async fn a_session_is_found_until_it_is_too_old(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let full = InteractiveAuthRow {
            user_id: Some(alice().to_owned()),
            body_hash: Some("body".to_owned()),
            completed: r#"["m.login.password"]"#.to_owned(),
            result: Some("{}".to_owned()),
            ..session("delete_device")
        };
        let empty = session("register");
        for (hash, session) in [("a", &full), ("b", &empty)] {
            assert!(interactive_auth::insert(&mut conn, hash, session, 100, 50, 10).await.unwrap());
        }
        for (hash, expected) in [("a", full), ("b", empty)] {
            let found = interactive_auth::find(&mut conn, hash, 100).await.unwrap().unwrap();
            assert_eq!(columns(found), columns(expected));
            assert!(interactive_auth::find(&mut conn, hash, 101).await.unwrap().is_none());
        }
        assert!(interactive_auth::find(&mut conn, "c", 0).await.unwrap().is_none());
        // The hash of a session is drawn at random: the same one twice is a fault.
        let twice = interactive_auth::insert(&mut conn, "a", &session("x"), 100, 50, 10).await;
        assert!(twice.unwrap_err().is_unique_violation());
    }

    async fn only_so_many_young_sessions_are_there(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let new = session("register");
        for (hash, now_ms, oldest_ms, fits) in [
            ("a", 100, 50, true), ("b", 100, 50, true), ("c", 100, 50, false),
            ("c", 100, 100, false), ("c", 151, 101, true),
        ] {
            let inserted =
                interactive_auth::insert(&mut conn, hash, &new, now_ms, oldest_ms, 2).await;
            assert_eq!(inserted.unwrap(), fits, "{hash} at {now_ms}");
        }
        assert!(!interactive_auth::insert(&mut conn, "d", &new, 151, 101, 0).await.unwrap());
    }

    async fn a_session_is_bound_to_its_first_request(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for hash in ["a", "b"] {
            let new = session("register");
            assert!(interactive_auth::insert(&mut conn, hash, &new, 100, 50, 10).await.unwrap());
        }
        for (completed, body_hash, is_bound) in
            [("[1]", "one", true), ("[2]", "one", true), ("[3]", "two", false)]
        {
            let done = interactive_auth::complete(&mut conn, "a", completed, body_hash).await;
            assert_eq!(done.unwrap(), is_bound);
        }
        interactive_auth::set_result(&mut conn, "a", "{}").await.unwrap();
        interactive_auth::set_result(&mut conn, "a", r#"{"again":1}"#).await.unwrap();
        let found = interactive_auth::find(&mut conn, "a", 0).await.unwrap().unwrap();
        assert_eq!(columns(found), ("register".to_owned(), None, Some("one".to_owned()),
            "[2]".to_owned(), Some(r#"{"again":1}"#.to_owned())));
        let other = interactive_auth::find(&mut conn, "b", 0).await.unwrap().unwrap();
        assert_eq!(columns(other), columns(session("register")));
    }

    async fn old_sessions_are_pruned(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (hash, now_ms) in [("a", 99), ("b", 100), ("c", 101)] {
            let new = session("register");
            assert!(interactive_auth::insert(&mut conn, hash, &new, now_ms, 0, 10).await.unwrap());
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
            let new = InteractiveAuthRow {
                body_hash: Some(text.to_owned()),
                completed: long.clone(),
                result: Some(text.to_owned()),
                ..session(text)
            };
            let (newest, oldest) = (i64::MAX, i64::MIN);
            let inserted =
                interactive_auth::insert(&mut conn, text, &new, newest, oldest, i64::MAX).await;
            assert!(inserted.unwrap());
            let found = interactive_auth::find(&mut conn, text, i64::MAX).await.unwrap().unwrap();
            assert_eq!(columns(found), columns(new));
        }
        refused(interactive_auth::insert(&mut conn, "a\0b", &session("x"), 1, 1, 1).await);
        refused(interactive_auth::find(&mut conn, "a\0b", 1).await);
        refused(interactive_auth::complete(&mut conn, "a", "a\0b", "").await);
        refused(interactive_auth::set_result(&mut conn, "a", "a\0b").await);
    }
}
