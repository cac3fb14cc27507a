//! A node freezes, or its host vanishes, between two packets of a call. PostgreSQL has executed the
//! call, holds the log lock, and waits for the end of the call, which none of its time-outs limits.
//! Other nodes continue nevertheless.

use std::time::{Duration, Instant};

use stoa_storage::{Options, Store, log::Appended};
use stoa_testing::{
    Backend, PostgresProxy, SecondProcess, TestDatabase, TestNetwork, TestNode, TestNodeOptions,
    TestPostgres, UnendedCall, in_own_network, run_on, sample,
    second_process::{say, wait_for_the_end},
};
use tokio::runtime::Runtime;

use crate::{ROOM, witness, write};

/// How long a caller on another node may wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes a node call the log at `url`, where the call never ends.
async fn begin_call(url: &str) -> (UnendedCall, PostgresProxy) {
    let proxy = PostgresProxy::start(url).await;
    let options = Options { url: proxy.url().to_owned(), direct_url: None, max_connections: 4 };
    let store = Store::open(&options).await.unwrap();
    let node = TestNode::start_on(store, TestNodeOptions::default()).await;
    let call = proxy.catch();
    let append = witness::append(ROOM, witness::nid(1, 1));
    tokio::spawn(async move { node.writer.append(append).await });
    (call.await.pass_on_without_its_end().await, proxy)
}

/// Appends on an undisturbed node, which must not take long.
async fn append_elsewhere(node: &TestNode) -> Appended {
    let append = node.writer.append(witness::append(ROOM, witness::nid(2, 1)));
    let appended = tokio::time::timeout(PATIENCE, append).await;
    appended.expect("nobody waits for a node that is gone").unwrap()
}

/// Whether a session holds the log lock.
async fn is_locked(node: &TestNode) -> bool {
    let sql = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND (classid::bigint << 32) + objid::bigint = 7310579619
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let (count,): (i64,) = node.store.read().await.unwrap().one(sql, &[]).await.unwrap();
    count > 0
}

async fn wait_until_locked(node: &TestNode) {
    let began = Instant::now();
    while !is_locked(node).await {
        assert!(began.elapsed() < PATIENCE, "the call does not take the lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn nobody_waits_for_a_node_that_freezes_in_the_middle_of_a_call() {
    run_on(Backend::Postgres, async |db| {
        let neighbour = TestNode::start(db).await;
        write(&neighbour, sample::creation(ROOM)).await;
        // The node's host is still there and answers for it, so that the server notices nothing
        // wrong.
        let _call = begin_call(db.url()).await;
        wait_until_locked(&neighbour).await;
        append_elsewhere(&neighbour).await;
    });
}

#[test]
fn the_lock_is_released_if_a_host_vanishes_in_the_middle_of_a_call() {
    in_own_network("unended_calls::in_its_network");
}

#[test]
#[ignore = "the test above runs it in a network of its own"]
fn in_its_network() {
    let network = TestNetwork::new();
    runtime().block_on(async {
        let Some(server) = TestPostgres::start_near(&network).await else { return };
        let db = TestDatabase::on_server(&server.url()).await;
        let neighbour = TestNode::start(&db).await;
        write(&neighbour, sample::creation(ROOM)).await;
        let url = db.url().replace("127.0.0.1", &TestNetwork::NEAR.to_string());
        let variables = [("STOA_NODE_URL", &*url)];
        let far = SecondProcess::start_far(&network, "unended_calls::far_node", &variables);
        far.wait_for("the call has no end");
        wait_until_locked(&neighbour).await;

        let _cut = network.cut();
        let cut = Instant::now();
        // Nobody wants the lock, so only the server itself can notice.
        while is_locked(&neighbour).await {
            assert!(cut.elapsed() < PATIENCE, "the lock outlives its host");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        append_elsewhere(&neighbour).await;
        assert!(cut.elapsed() < PATIENCE);
    });
}

#[test]
#[ignore = "the test above runs it on the far host"]
fn far_node() {
    runtime().block_on(async {
        let _call = begin_call(&std::env::var("STOA_NODE_URL").unwrap()).await;
        say("the call has no end");
        wait_for_the_end();
    });
}
