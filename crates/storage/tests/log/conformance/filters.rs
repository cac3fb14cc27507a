use stoa_storage::repo::filters;
use stoa_testing::both_databases;

use super::{UNUSUAL, alice, bob, long_text, refused};

both_databases! {
    async fn a_filter_is_stored_once_and_for_its_user(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(filters::find(&mut conn, alice(), "a").await.unwrap(), None);
        assert!(filters::insert(&mut conn, alice(), "a", "{}", 1, 10).await.unwrap());
        // The same ID is the same filter, which never changes.
        assert!(filters::insert(&mut conn, alice(), "a", "{ }", 2, 10).await.unwrap());
        assert!(filters::insert(&mut conn, alice(), "A", "[]", 1, 10).await.unwrap());
        assert_eq!(filters::find(&mut conn, alice(), "a").await.unwrap().as_deref(), Some("{}"));
        assert_eq!(filters::find(&mut conn, alice(), "A").await.unwrap().as_deref(), Some("[]"));
        assert_eq!(filters::find(&mut conn, bob(), "a").await.unwrap(), None);
    }

    async fn a_user_has_a_limited_number_of_filters(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(!filters::insert(&mut conn, alice(), "a", "{}", 1, 0).await.unwrap());
        for (filter_id, fits) in [("a", true), ("b", true), ("c", false), ("a", true)] {
            let inserted = filters::insert(&mut conn, alice(), filter_id, "{}", 1, 2).await.unwrap();
            assert_eq!(inserted, fits, "{filter_id}");
        }
        assert_eq!(filters::find(&mut conn, alice(), "c").await.unwrap(), None);
        assert!(filters::insert(&mut conn, bob(), "c", "{}", 1, 2).await.unwrap());
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let long = long_text();
        for text in UNUSUAL {
            for definition in [text, &long] {
                let (user_id, now_ms) = (if definition == long { bob() } else { alice() }, i64::MIN);
                let limit = i64::MAX;
                let inserted =
                    filters::insert(&mut conn, user_id, text, definition, now_ms, limit).await;
                assert!(inserted.unwrap());
                let found = filters::find(&mut conn, user_id, text).await.unwrap();
                assert_eq!(found.as_deref(), Some(definition));
            }
        }
        refused(filters::insert(&mut conn, alice(), "a\0b", "{}", 1, 99).await);
        refused(filters::insert(&mut conn, alice(), "a", "a\0b", 1, 99).await);
        refused(filters::find(&mut conn, alice(), "a\0b").await);
    }
}
