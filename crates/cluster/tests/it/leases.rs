//! Leases: they let one node at a time do something.

use std::{env, time::Duration};

use stoa_base::{Clock, ManualClock};
use stoa_cluster::{Lease, Leases};
use stoa_storage::{Error, Options, Store, repo::leases};
use stoa_testing::{
    Backend, SecondProcess, TestDatabase, both_databases, run_on,
    second_process::{freeze_this_process, say},
    surgery::{self, take_lease},
};
use tokio::time::{Instant, sleep};

use crate::soon;

const NAME: &str = "the lease";
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1_200);

/// The leases of a new node.
async fn node(db: &TestDatabase, incarnation: i64) -> Leases {
    Leases::new(db.store().await, Clock::system(), incarnation)
}

/// Waits until the lease is free, and takes it.
async fn take(leases: &Leases, ttl: Duration) -> Lease {
    soon(async {
        loop {
            if let Some(lease) = leases.acquire(NAME, ttl).await.unwrap() {
                return lease;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Writes a row under the lease.
async fn write(store: &Store, lease: &Lease, row: &str) -> stoa_storage::Result<()> {
    let mut conn = store.write().await?;
    lease.fence().check(&mut conn).await?;
    surgery::mark(&mut conn, row).await?;
    conn.commit().await
}

both_databases! {
    async fn a_lease_has_one_holder_and_the_next_has_a_larger_fence(db: TestDatabase) {
        let (one, other) = (node(db, 1).await, node(db, 2).await);
        let first = one.acquire(NAME, LONG).await.unwrap().unwrap();
        assert!(first.is_held());
        assert!(one.acquire(NAME, LONG).await.unwrap().is_none(), "not even by the same node");
        assert!(other.acquire(NAME, LONG).await.unwrap().is_none());
        let fence = first.fence().clone();
        first.release().await.unwrap();
        let second = other.acquire(NAME, LONG).await.unwrap().unwrap();
        assert!(second.fence().number > fence.number);
        // Even if the row is lost in between.
        let fence = second.fence().clone();
        drop(second);
        let store = db.store().await;
        surgery::lose_leases(&store).await;
        assert!(one.acquire(NAME, LONG).await.unwrap().unwrap().fence().number > fence.number);
    }

    async fn shares_of_the_same_work_are_leased_one_by_one(db: TestDatabase) {
        let (one, other) = (node(db, 1).await, node(db, 2).await);
        let mut held = Vec::new();
        for share in 0..8 {
            let node = if share % 2 == 0 { &one } else { &other };
            held.push(node.acquire_share(NAME, share, LONG).await.unwrap().unwrap());
        }
        for share in 0..8 {
            assert!(one.acquire_share(NAME, share, LONG).await.unwrap().is_none());
        }
    }

    async fn a_lease_that_nobody_renews_ends_and_its_fence_is_refused(db: TestDatabase) {
        let (store, next) = (db.store().await, node(db, 1).await);
        let vanished = take_lease(&store, NAME, 500).await.unwrap();
        assert!(next.acquire(NAME, LONG).await.unwrap().is_none());
        let lease = take(&next, LONG).await;
        let mut conn = store.write().await.unwrap();
        lease.fence().check(&mut conn).await.unwrap();
        let refused = vanished.check(&mut conn).await;
        assert!(matches!(refused, Err(Error::LeaseLost)), "{refused:?}");
        assert!(!leases::renew(&mut conn, &vanished, 60_000).await.unwrap());
        leases::release(&mut conn, &vanished).await.unwrap();
        conn.commit().await.unwrap();
        assert!(next.acquire(NAME, LONG).await.unwrap().is_none(), "the old holder cannot release it");
    }

    async fn a_lease_that_is_held_is_renewed(db: TestDatabase) {
        let (one, other) = (node(db, 1).await, node(db, 2).await);
        let lease = one.acquire(NAME, SHORT).await.unwrap().unwrap();
        let began = Instant::now();
        while began.elapsed() < 3 * SHORT {
            assert!(other.acquire(NAME, SHORT).await.unwrap().is_none());
            assert!(lease.is_held());
            sleep(SHORT / 10).await;
        }
    }

    async fn a_lease_that_is_dropped_is_free_long_before_its_end(db: TestDatabase) {
        let (one, other) = (node(db, 1).await, node(db, 2).await);
        drop(one.acquire(NAME, LONG).await.unwrap().unwrap());
        let second = take(&other, LONG).await;
        // As when a node stops: releases whatever it holds.
        other.release_all().await.unwrap();
        assert!(one.acquire(NAME, LONG).await.unwrap().is_some());
        drop(second);
    }

    async fn the_wall_clock_of_a_node_does_not_matter(db: TestDatabase) {
        let nodes = [0, 4_000_000_000_000].map(|now_ms| Clock::from(ManualClock::at(now_ms)));
        let [behind, ahead] = nodes;
        let behind = Leases::new(db.store().await, behind, 1);
        let ahead = Leases::new(db.store().await, ahead, 2);
        for (one, other) in [(&behind, &ahead), (&ahead, &behind)] {
            let lease = one.acquire(NAME, LONG).await.unwrap().unwrap();
            assert!(lease.is_held());
            assert!(other.acquire(NAME, LONG).await.unwrap().is_none());
            lease.release().await.unwrap();
            let lease = other.acquire(NAME, LONG).await.unwrap().unwrap();
            lease.release().await.unwrap();
        }
    }

    async fn a_holder_that_cannot_renew_stops_before_another_may_begin(db: TestDatabase) {
        let store = db.store().await;
        let cut_off = Leases::new(store.clone(), Clock::system(), 1);
        let other = node(db, 2).await;
        let lease = cut_off.acquire(NAME, SHORT).await.unwrap().unwrap();
        store.close().await;
        let working = lease.run(std::future::pending::<stoa_storage::Result<()>>());
        assert!(matches!(soon(working).await, Err(Error::LeaseLost)));
        assert!(!lease.is_held());
        assert!(other.acquire(NAME, LONG).await.unwrap().is_none(), "not yet");
        take(&other, LONG).await;
    }

    async fn nobody_takes_a_lease_over_in_the_middle_of_a_write_under_it(db: TestDatabase) {
        let (store, next) = (db.store().await, node(db, 1).await);
        let ended = take_lease(&store, NAME, 0).await.unwrap();
        let mut conn = store.write().await.unwrap();
        ended.check(&mut conn).await.unwrap();
        let taking = tokio::spawn(async move { take(&next, LONG).await });
        sleep(Duration::from_millis(200)).await;
        assert!(!taking.is_finished());
        conn.commit().await.unwrap();
        soon(taking).await.unwrap();
    }

    async fn leases_that_nobody_has_held_for_long_are_forgotten(db: TestDatabase) {
        let (store, node) = (db.store().await, node(db, 1).await);
        take_lease(&store, "long ago", -25 * 3_600_000).await.unwrap();
        take_lease(&store, "just now", -1).await.unwrap();
        let held = node.acquire(NAME, LONG).await.unwrap().unwrap();
        node.prune().await.unwrap();
        assert_eq!(surgery::leases(&store).await, ["just now", NAME]);
        drop(held);
    }
}

/// A node is frozen after it has checked that it holds the lease and before its write. When it
/// wakes up, another node has continued.
#[test]
fn a_node_that_was_frozen_writes_nothing_under_a_lease_that_another_has() {
    run_on(Backend::Postgres, async |db| {
        let (store, next) = (db.store().await, node(db, 1).await);
        let process = SecondProcess::start("leases::holder", &[("STOA_LEASE_URL", db.url())]);
        process.wait_for("wrote");
        process.wait_until_frozen();
        assert!(next.acquire(NAME, LONG).await.unwrap().is_none());
        let lease = take(&next, LONG).await;
        write(&store, &lease, "successor").await.unwrap();
        process.wake();
        assert_eq!(process.finish(), ["refused", "stopped"]);
        assert!(
            surgery::is_marked(&store, "before").await
                && !surgery::is_marked(&store, "after").await
        );
        assert!(lease.is_held());
    });
}

#[test]
#[ignore = "a test that freezes a node runs it in a process of its own"]
fn holder() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let url = env::var("STOA_LEASE_URL").unwrap();
        let options = Options { url, direct_url: None, max_connections: 4 };
        let store = Store::open(&options).await.unwrap();
        let leases = Leases::new(store.clone(), Clock::system(), 5);
        let lease = leases.acquire(NAME, SHORT).await.unwrap().unwrap();
        write(&store, &lease, "before").await.unwrap();
        say("wrote");
        assert!(lease.is_held());
        freeze_this_process().await;
        match write(&store, &lease, "after").await {
            Err(Error::LeaseLost) => say("refused"),
            other => say(&format!("{other:?}")),
        }
        soon(lease.ended()).await;
        say("stopped");
    });
}
