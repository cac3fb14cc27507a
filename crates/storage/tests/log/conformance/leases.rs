use stoa_storage::{
    Error,
    repo::leases::{self, Fence},
};
use stoa_testing::both_databases;

use super::{UNUSUAL, refused};

/// A minute, within which none of these tests takes longer.
const MINUTE: i64 = 60_000;

fn fence(name: &str, partition: i64, number: i64) -> Fence {
    Fence { name: name.to_owned(), partition, number }
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let none = fence("a", 0, 0);
        assert!(matches!(none.check(&mut conn).await, Err(Error::LeaseLost)));
        assert!(!leases::renew(&mut conn, &none, MINUTE).await.unwrap());
        leases::release(&mut conn, &none).await.unwrap();
        leases::release_all(&mut conn, 1).await.unwrap();
        assert_eq!(leases::prune(&mut conn, 0).await.unwrap(), 0);
    }

    async fn a_lease_has_one_holder_until_it_is_released(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let first = leases::acquire(&mut conn, "a", 0, 1, MINUTE).await.unwrap().unwrap();
        assert_eq!((first.name.as_str(), first.partition), ("a", 0));
        for holder in [1, 2] {
            assert_eq!(leases::acquire(&mut conn, "a", 0, holder, MINUTE).await.unwrap(), None);
        }
        // Another share, another lease.
        let share = leases::acquire(&mut conn, "a", i64::MAX, 2, MINUTE).await.unwrap().unwrap();
        let other = leases::acquire(&mut conn, "A", 0, 2, MINUTE).await.unwrap().unwrap();
        first.check(&mut conn).await.unwrap();
        assert!(leases::renew(&mut conn, &first, MINUTE).await.unwrap());
        for wrong in [
            fence("a", 0, first.number + 1), fence("a", 1, first.number), fence("b", 0, first.number),
        ] {
            assert!(matches!(wrong.check(&mut conn).await, Err(Error::LeaseLost)));
            assert!(!leases::renew(&mut conn, &wrong, MINUTE).await.unwrap());
            leases::release(&mut conn, &wrong).await.unwrap();
        }
        leases::release(&mut conn, &first).await.unwrap();
        assert!(!leases::renew(&mut conn, &first, MINUTE).await.unwrap(), "it was given back");
        let second = leases::acquire(&mut conn, "a", 0, 2, MINUTE).await.unwrap().unwrap();
        assert!(second.number > first.number);
        assert!(matches!(first.check(&mut conn).await, Err(Error::LeaseLost)));
        for held in [&second, &share, &other] {
            held.check(&mut conn).await.unwrap();
        }
    }

    async fn a_lease_that_ended_is_taken(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let first = leases::acquire(&mut conn, "a", 0, 1, -MINUTE).await.unwrap().unwrap();
        // Nobody has taken it since.
        first.check(&mut conn).await.unwrap();
        let second = leases::acquire(&mut conn, "a", 0, 2, MINUTE).await.unwrap().unwrap();
        assert!(second.number > first.number);
        assert!(matches!(first.check(&mut conn).await, Err(Error::LeaseLost)));
    }

    async fn a_node_releases_all_its_leases(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (partition, holder) in [(0, 1), (1, 1), (2, 2)] {
            leases::acquire(&mut conn, "a", partition, holder, MINUTE).await.unwrap().unwrap();
        }
        leases::release_all(&mut conn, 1).await.unwrap();
        for (partition, is_free) in [(0, true), (1, true), (2, false)] {
            let taken = leases::acquire(&mut conn, "a", partition, 3, MINUTE).await.unwrap();
            assert_eq!(taken.is_some(), is_free, "{partition}");
        }
    }

    async fn leases_that_ended_long_ago_are_pruned(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (partition, ttl_ms) in [(0, -3 * MINUTE), (1, -MINUTE), (2, MINUTE), (3, MINUTE)] {
            let taken = leases::acquire(&mut conn, "a", partition, 1, ttl_ms).await.unwrap().unwrap();
            if partition == 3 {
                leases::release(&mut conn, &taken).await.unwrap();
            }
        }
        assert_eq!(leases::prune(&mut conn, 2 * MINUTE).await.unwrap(), 2);
        assert_eq!(leases::prune(&mut conn, 2 * MINUTE).await.unwrap(), 0);
        assert_eq!(leases::acquire(&mut conn, "a", 2, 2, MINUTE).await.unwrap(), None);
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for name in UNUSUAL {
            let (partition, holder) = (i64::MIN, i64::MAX);
            let taken = leases::acquire(&mut conn, name, partition, holder, i64::MAX).await;
            let taken = taken.unwrap().unwrap();
            taken.check(&mut conn).await.unwrap();
            assert!(leases::renew(&mut conn, &taken, i64::MAX).await.unwrap());
            assert_eq!(leases::acquire(&mut conn, name, partition, 1, 1).await.unwrap(), None);
        }
        refused(leases::acquire(&mut conn, "a\0b", 0, 1, 1).await);
    }
}
