use stoa_storage::{
    Conn,
    repo::attempts::{self, AttemptsRow},
};
use stoa_testing::both_databases;

use super::{UNUSUAL, long_text, refused};

async fn counted(conn: &mut Conn, subject: &str, now_ms: i64, oldest_ms: i64) -> (i64, i64) {
    let row = attempts::count(conn, subject, now_ms, oldest_ms).await.unwrap();
    let AttemptsRow { subject: found, attempts, window_start_ms } = row;
    assert_eq!(found, subject);
    (attempts, window_start_ms)
}

both_databases! {
    async fn attempts_are_counted_until_the_window_is_over(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(counted(&mut conn, "a", 100, 50).await, (1, 100));
        assert_eq!(counted(&mut conn, "a", 110, 60).await, (2, 100));
        assert_eq!(counted(&mut conn, "b", 110, 60).await, (1, 110), "somebody else");
        assert_eq!(counted(&mut conn, "a", 150, 100).await, (3, 100), "just not over");
        assert_eq!(counted(&mut conn, "a", 151, 101).await, (1, 151), "over");
    }

    async fn attempts_are_taken_back_but_not_below_zero(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        attempts::uncount(&mut conn, &["a"]).await.unwrap();
        attempts::uncount(&mut conn, &[]).await.unwrap();
        for subject in ["a", "a", "b", "c"] {
            counted(&mut conn, subject, 100, 50).await;
        }
        attempts::uncount(&mut conn, &["a", "b", "b"]).await.unwrap();
        attempts::uncount(&mut conn, &["b"]).await.unwrap();
        for (subject, attempts) in [("a", 2), ("b", 1), ("c", 2)] {
            assert_eq!(counted(&mut conn, subject, 100, 50).await, (attempts, 100), "{subject}");
        }
    }

    async fn attempts_are_forgotten(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        attempts::forget(&mut conn, "a").await.unwrap();
        for subject in ["a", "a", "b", "b"] {
            counted(&mut conn, subject, 100, 50).await;
        }
        attempts::forget(&mut conn, "a").await.unwrap();
        assert_eq!(counted(&mut conn, "a", 101, 50).await, (1, 101));
        assert_eq!(counted(&mut conn, "b", 101, 50).await, (3, 100));
    }

    async fn windows_that_are_over_are_pruned(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(attempts::prune(&mut conn, i64::MAX).await.unwrap(), 0);
        for (subject, now_ms) in [("a", 99), ("b", 100), ("c", 101)] {
            counted(&mut conn, subject, now_ms, 50).await;
        }
        assert_eq!(attempts::prune(&mut conn, 100).await.unwrap(), 1);
        assert_eq!(counted(&mut conn, "b", 102, 50).await, (2, 100));
        assert_eq!(attempts::prune(&mut conn, i64::MAX).await.unwrap(), 2);
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for subject in UNUSUAL {
            let (now_ms, oldest_ms) = (i64::MAX, i64::MIN);
            assert_eq!(counted(&mut conn, subject, now_ms, oldest_ms).await, (1, now_ms));
            attempts::uncount(&mut conn, &[subject]).await.unwrap();
            assert_eq!(counted(&mut conn, subject, now_ms, oldest_ms).await, (1, now_ms));
            attempts::forget(&mut conn, subject).await.unwrap();
        }
        assert_eq!(attempts::prune(&mut conn, i64::MAX).await.unwrap(), 0);
        attempts::uncount(&mut conn, &[&long_text()]).await.unwrap();
        refused(attempts::count(&mut conn, "a\0b", 1, 1).await);
        refused(attempts::uncount(&mut conn, &["a\0b"]).await);
        refused(attempts::forget(&mut conn, "a\0b").await);
        // Text that only looks like a null character is not one.
        attempts::uncount(&mut conn, &["\\u0000", "\\\\u0000"]).await.unwrap();
    }
}
