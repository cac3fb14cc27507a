use stoa_storage::repo::nodes;
use stoa_testing::{
    both_databases,
    surgery::{note_silent_node, noted_nodes},
};

use super::{UNUSUAL, refused};

/// A minute, within which none of these tests takes longer.
const MINUTE: i64 = 60_000;

both_databases! {
    async fn nodes_are_alive_as_long_as_they_report(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(nodes::count_live(&mut conn, i64::MAX / 2).await.unwrap(), 0);
        assert_eq!(nodes::prune(&mut conn, 0).await.unwrap(), 0);
        nodes::remove(&mut conn, 1).await.unwrap();
        for incarnation in [1, 2, 1, i64::MAX, i64::MIN] {
            nodes::beat(&mut conn, incarnation, "0.1.0").await.unwrap();
        }
        assert_eq!(nodes::count_live(&mut conn, MINUTE).await.unwrap(), 4);
        assert_eq!(nodes::prune(&mut conn, MINUTE).await.unwrap(), 0);
        nodes::remove(&mut conn, 1).await.unwrap();
        nodes::remove(&mut conn, 1).await.unwrap();
        conn.commit().await.unwrap();
        assert_eq!(noted_nodes(&store).await, [i64::MIN, 2, i64::MAX]);
    }

    async fn a_silent_node_does_not_count_and_is_pruned(db: TestDatabase) {
        let store = db.store().await;
        note_silent_node(&store, 5, 2 * MINUTE).await;
        note_silent_node(&store, 6, 4 * MINUTE).await;
        let mut conn = store.write().await.unwrap();
        nodes::beat(&mut conn, 7, "0.1.0").await.unwrap();
        for (within_ms, count) in [(MINUTE, 1), (3 * MINUTE, 2), (5 * MINUTE, 3)] {
            assert_eq!(nodes::count_live(&mut conn, within_ms).await.unwrap(), count);
        }
        assert_eq!(nodes::prune(&mut conn, 3 * MINUTE).await.unwrap(), 1);
        // A node that was believed dead reports that it is alive.
        nodes::beat(&mut conn, 5, "0.1.0").await.unwrap();
        assert_eq!(nodes::count_live(&mut conn, MINUTE).await.unwrap(), 2);
        assert_eq!(nodes::prune(&mut conn, -MINUTE).await.unwrap(), 2);
    }

    async fn unusual_texts(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (incarnation, version) in (0..).zip(UNUSUAL) {
            nodes::beat(&mut conn, incarnation, version).await.unwrap();
        }
        refused(nodes::beat(&mut conn, 1, "a\0b").await);
    }
}
