//! PostgreSQL goes down and comes back while nodes are working. Each of their callers gets a true
//! answer, and nothing is written twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stoa_base::RoomNid;
use stoa_testing::{TestDatabase, TestNode, TestPostgres, sample};
use tokio::task::JoinSet;

use crate::{
    ROOM,
    witness::{self, Told},
    write,
};

const CALLERS: i64 = 40;
const OUTAGES: usize = 4;

/// Shared by the callers of all nodes.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    answers: AtomicUsize,
}

impl Load {
    /// Appends without pause, and returns the outcomes.
    async fn call(self: Arc<Self>, node: TestNode, room: RoomNid, caller: i64) -> Told {
        let mut told = Told::default();
        for count in 1.. {
            let nid = witness::nid(caller, count);
            told.add(nid, &node.writer.append(witness::append(room, nid)).await);
            self.answers.fetch_add(1, Ordering::Relaxed);
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
        }
        told
    }

    /// Waits until `count` more appends have been answered.
    async fn goes_on(&self, count: usize) {
        let aim = self.answers.load(Ordering::Relaxed) + count;
        while self.answers.load(Ordering::Relaxed) < aim {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_written_twice_when_postgres_is_killed_under_load() {
    let Some(mut server) = TestPostgres::start().await else { return };
    let db = TestDatabase::on_server(&server.url()).await;
    let nodes = [TestNode::start(&db).await, TestNode::start(&db).await];
    write(&nodes[0], sample::creation(ROOM)).await;
    let load = Arc::new(Load::default());
    let mut calling = JoinSet::new();
    for caller in 0..CALLERS {
        let node = &nodes[usize::try_from(caller).unwrap() % nodes.len()];
        calling.spawn(Arc::clone(&load).call(node.clone(), ROOM, caller));
    }
    for outage in 0..OUTAGES {
        load.goes_on(rand::random_range(100..300)).await;
        if outage % 2 == 0 {
            server.kill();
        } else {
            server.stop_immediately();
        }
        server.restart().await;
    }
    load.goes_on(200).await;
    load.is_over.store(true, Ordering::Relaxed);
    let mut told = Told::default();
    for part in calling.join_all().await {
        told.extend(part);
    }

    let found = witness::find(&nodes[0].store, ROOM).await;
    told.check(&found);
    assert!(told.not_written.is_empty(), "nothing stood in the way of {:?}", told.not_written);
    assert!(found.keys().all(|nid| told.written.contains_key(nid) || told.unknown.contains(nid)));
    witness::check_log(&nodes[0].store, found.len(), 1).await;
    for node in nodes {
        let head = stoa_storage::log::head(&mut node.store.read().await.unwrap()).await.unwrap();
        assert_eq!(node.freshness.current().await.unwrap(), head, "the node follows the log");
    }
}
