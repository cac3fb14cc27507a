use stoa_storage::repo::registration_nonces;
use stoa_testing::both_databases;

use super::{UNUSUAL, refused};

both_databases! {
    async fn a_nonce_is_good_once_and_until_it_is_too_old(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(!registration_nonces::take(&mut conn, "a", i64::MIN).await.unwrap());
        for nonce in ["a", "b", "c"] {
            assert!(registration_nonces::insert(&mut conn, nonce, 100, 10).await.unwrap());
        }
        assert!(registration_nonces::take(&mut conn, "a", 100).await.unwrap());
        assert!(!registration_nonces::take(&mut conn, "a", 100).await.unwrap(), "twice");
        assert!(!registration_nonces::take(&mut conn, "A", 100).await.unwrap(), "another");
        assert!(!registration_nonces::take(&mut conn, "b", 101).await.unwrap(), "too old");
        assert!(!registration_nonces::take(&mut conn, "b", 0).await.unwrap(), "used up all the same");
        assert!(registration_nonces::take(&mut conn, "c", 0).await.unwrap());
    }

    async fn only_so_many_are_there(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (nonce, limit, fits) in
            [("a", 0, false), ("a", 2, true), ("b", 2, true), ("c", 2, false), ("c", 3, true)]
        {
            assert_eq!(registration_nonces::insert(&mut conn, nonce, 1, limit).await.unwrap(), fits, "{nonce}");
        }
        // A nonce is drawn at random: the same one twice is a fault.
        let twice = registration_nonces::insert(&mut conn, "a", 1, 10).await;
        assert!(twice.unwrap_err().is_unique_violation());
    }

    async fn old_nonces_are_pruned(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(registration_nonces::prune(&mut conn, i64::MAX).await.unwrap(), 0);
        for (nonce, now_ms) in [("a", 99), ("b", 100), ("c", 101)] {
            assert!(registration_nonces::insert(&mut conn, nonce, now_ms, 10).await.unwrap());
        }
        assert_eq!(registration_nonces::prune(&mut conn, 100).await.unwrap(), 1);
        assert!(!registration_nonces::take(&mut conn, "a", 0).await.unwrap());
        assert!(registration_nonces::take(&mut conn, "b", 0).await.unwrap());
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for nonce in UNUSUAL {
            assert!(registration_nonces::insert(&mut conn, nonce, i64::MIN, i64::MAX).await.unwrap());
            assert!(registration_nonces::take(&mut conn, nonce, i64::MIN).await.unwrap());
            assert!(registration_nonces::insert(&mut conn, nonce, i64::MAX, i64::MAX).await.unwrap());
            assert!(registration_nonces::take(&mut conn, nonce, i64::MAX).await.unwrap());
        }
        refused(registration_nonces::insert(&mut conn, "a\0b", 1, 10).await);
        refused(registration_nonces::take(&mut conn, "a\0b", 1).await);
    }
}
