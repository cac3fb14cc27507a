use stoa_storage::repo::registration_nonces;
use stoa_testing::both_databases;

use super::{UNUSUAL, refused};

both_databases! {
    async fn a_nonce_is_used_up_once(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (nonce, given_ms, is_new) in
            [("a", 1, true), ("a", 1, false), ("a", 2, false), ("A", 1, true), ("b", 1, true)]
        {
            let taken = registration_nonces::take(&mut conn, nonce, given_ms).await.unwrap();
            assert_eq!(taken, is_new, "{nonce} {given_ms}");
        }
    }

    async fn old_nonces_are_pruned(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(registration_nonces::prune(&mut conn, i64::MAX).await.unwrap(), 0);
        for (nonce, given_ms) in [("a", 99), ("b", 100), ("c", 101)] {
            assert!(registration_nonces::take(&mut conn, nonce, given_ms).await.unwrap());
        }
        assert_eq!(registration_nonces::prune(&mut conn, 100).await.unwrap(), 1);
        assert!(registration_nonces::take(&mut conn, "a", 99).await.unwrap());
        assert!(!registration_nonces::take(&mut conn, "b", 100).await.unwrap());
        assert_eq!(registration_nonces::prune(&mut conn, i64::MAX).await.unwrap(), 3);
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (nonce, given_ms) in UNUSUAL.into_iter().zip([i64::MIN, i64::MAX].into_iter().cycle()) {
            assert!(registration_nonces::take(&mut conn, nonce, given_ms).await.unwrap());
            assert!(!registration_nonces::take(&mut conn, nonce, given_ms).await.unwrap());
        }
        refused(registration_nonces::take(&mut conn, "a\0b", 1).await);
    }
}
