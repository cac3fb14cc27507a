//! The connection to PostgreSQL breaks during an append and the node asks again. Even if some of
//! its calls arrive late, its callers get a true answer and nothing is written twice.

use std::{future::Future, sync::Arc, time::Duration};

use stoa_base::Pos;
use stoa_storage::{
    Options, Store,
    log::{Append, AppendError, Chain, Guard, Pending},
};
use stoa_testing::{
    Backend, Call, PostgresProxy, TestDatabase, TestNode, TestNodeOptions, run_on, sample,
};

use crate::{
    ROOM, hold,
    witness::{self, Told},
    write,
};

/// How many appends share the call that is disturbed.
const TOGETHER: i64 = 6;

/// A node that reaches the database through a proxy, and one that reaches it directly.
struct Deployment {
    proxy: PostgresProxy,
    node: TestNode,
    neighbour: TestNode,
    told: Told,
}

impl Deployment {
    async fn start(db: &TestDatabase) -> Self {
        let neighbour = TestNode::start(db).await;
        write(&neighbour, sample::creation(ROOM)).await;
        let proxy = PostgresProxy::start(db.url()).await;
        let url = proxy.url().to_owned();
        let options = Options { url, direct_url: None, max_connections: 4 };
        let store = Store::open(&options).await.unwrap();
        let node = TestNode::start_on(store, TestNodeOptions::default()).await;
        Self { proxy, node, neighbour, told: Told::default() }
    }

    /// Writes several appends in one call, and returns that call and the next.
    async fn append(&mut self) -> (Call, impl Future<Output = Call> + use<>, Vec<(i64, Pending)>) {
        let enqueue = |count| {
            // Odd numbers, so that no table would refuse a second copy.
            let nid = witness::nid(1, 2 * count + 1);
            (nid, self.node.writer.enqueue(witness::append(ROOM, nid)).unwrap())
        };
        let alone = self.proxy.catch();
        let (nid, first) = enqueue(1);
        let alone = alone.await;
        // While that call is running, the others wait together.
        let pending = (2..2 + TOGETHER).map(enqueue).collect();
        let (together, again) = (self.proxy.catch(), self.proxy.catch());
        alone.pass_on().await;
        self.told.add(nid, &first.wait().await);
        (together.await, again, pending)
    }

    /// Appends on the other node.
    async fn append_elsewhere(&mut self) {
        let nid = witness::nid(2, 1);
        let append = witness::append(ROOM, nid);
        self.told.add(nid, &self.neighbour.writer.append(append).await);
    }

    /// Compares what the callers were told with what exists, once both nodes have continued.
    async fn check(mut self, pending: Vec<(i64, Pending)>) {
        for (nid, pending) in pending {
            self.told.add(nid, &pending.wait().await);
        }
        for (node, caller) in [(&self.neighbour, 3), (&self.node, 4)] {
            let nid = witness::nid(caller, 1);
            self.told.add(nid, &node.writer.append(witness::append(ROOM, nid)).await);
        }
        assert!(self.told.not_written.is_empty() && self.told.unknown.is_empty());
        let found = witness::find(&self.neighbour.store, ROOM).await;
        self.told.check(&found);
        assert_eq!(found.len(), self.told.written.len());
        witness::check_log(&self.neighbour.store, found.len(), 1).await;
        for node in [&self.node, &self.neighbour] {
            let head = node.freshness.current().await.unwrap();
            assert_eq!(head.0, i64::try_from(2 * found.len()).unwrap() + 1);
        }
    }
}

#[test]
fn a_call_that_arrives_after_it_was_repeated_writes_nothing() {
    run_on(Backend::Postgres, async |db| {
        let mut deployment = Deployment::start(db).await;
        let (call, again, pending) = deployment.append().await;
        let late = call.cut();
        again.await.until_reply().await.pass_on().await;
        late.deliver().await;
        deployment.check(pending).await;
    });
}

#[test]
fn a_call_that_arrives_just_before_it_is_repeated_is_written_once() {
    run_on(Backend::Postgres, async |db| {
        let mut deployment = Deployment::start(db).await;
        let (call, again, pending) = deployment.append().await;
        let late = call.cut();
        let again = again.await;
        late.deliver().await;
        deployment.append_elsewhere().await;
        again.pass_on().await;
        deployment.check(pending).await;
    });
}

#[test]
fn a_call_that_waits_for_the_lock_while_it_is_repeated_is_written_once() {
    run_on(Backend::Postgres, async |db| {
        let mut deployment = Deployment::start(db).await;
        let (call, again, pending) = deployment.append().await;
        let held = hold(&deployment.neighbour).await;
        let late = tokio::spawn(call.cut().deliver());
        again.await.pass_on().await;
        // By now both calls are waiting, or will find the other's work done.
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(held);
        late.await.unwrap();
        deployment.check(pending).await;
    });
}

#[test]
fn a_call_whose_reply_is_lost_is_written_once() {
    run_on(Backend::Postgres, async |db| {
        let mut deployment = Deployment::start(db).await;
        let (call, again, pending) = deployment.append().await;
        call.until_reply().await.cut();
        let again = again.await;
        // The log grows on the other node, and the second reply is lost too.
        deployment.append_elsewhere().await;
        again.until_reply().await.cut();
        deployment.check(pending).await;
    });
}

/// The reply that reports moved extremities is lost, and the batch is found on the retry.
#[test]
fn a_lost_reply_does_not_hide_that_a_room_has_moved() {
    run_on(Backend::Postgres, async |db| {
        let deployment = Deployment::start(db).await;
        let head = write(&deployment.neighbour, sample::message(1, ROOM)).await.last();
        let chain = Arc::new(Chain::new(ROOM, Pos(1), head));
        write(&deployment.neighbour, sample::message(2, ROOM)).await;

        let guarded = |mut append: Append, guard: Guard| {
            append.guards.push(guard);
            deployment.node.writer.enqueue(append).unwrap()
        };
        let (call, again) = (deployment.proxy.catch(), deployment.proxy.catch());
        let message = guarded(sample::message(3, ROOM), Guard::State(Arc::clone(&chain)));
        call.await.until_reply().await.cut();
        again.await.pass_on().await;
        message.wait().await.unwrap();
        let state = guarded(sample::state_change(4, ROOM), Guard::Head(chain));
        assert!(matches!(state.wait().await, Err(AppendError::Conflict)));
    });
}
