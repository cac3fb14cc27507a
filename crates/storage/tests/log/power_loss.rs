//! Whatever is acknowledged was flushed: it survives a power failure, and a PostgreSQL that goes
//! down without another write.

use std::{collections::BTreeMap, time::Duration};

use stoa_base::RoomNid;
use stoa_testing::{Backend, SecondProcess, TestDatabase, TestPostgres, run_on};

use crate::{
    disk::Disk,
    node_process::{self, NodeProcess},
    witness,
};

const CALLERS: i64 = 50;
const POWER_LOSSES: i64 = 20;
const CRASHES: i64 = 4;

/// The rooms of the nodes, which run one after another.
fn rooms(count: i64) -> impl Iterator<Item = RoomNid> {
    (1..=count).map(RoomNid)
}

/// Lets a node work until a random moment, and returns what its callers were told.
fn work(process: &SecondProcess) -> Vec<String> {
    let appends = rand::random_range(2 * CALLERS..8 * CALLERS);
    let lines = (0..appends).map(|_| process.next_line().expect("a node that runs")).collect();
    std::thread::sleep(Duration::from_micros(rand::random_range(0..4_000)));
    lines
}

#[test]
fn acknowledged_appends_survive_a_power_failure() {
    run_on(Backend::Sqlite, async |db| {
        db.store().await.close().await;
        let disk = Disk::of(db);
        let mut found = BTreeMap::new();
        for room in rooms(POWER_LOSSES) {
            let process = disk.under(NodeProcess::new(db.url(), room).callers(CALLERS)).start();
            let mut lines = work(&process);
            lines.extend(process.kill());
            disk.lose_power();

            let store = db.open().await;
            let appends = witness::find(&store, room).await;
            node_process::told(&lines).check(&appends);
            found.extend(appends);
            let others = usize::try_from(room.0).unwrap();
            witness::check_log(&store, found.len(), others).await;
            store.close().await;
            disk.settle();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_appends_survive_a_crash_of_postgres() {
    let Some(mut server) = TestPostgres::start().await else { return };
    let db = TestDatabase::on_server(&server.url()).await;
    db.store().await.close().await;
    let mut found = BTreeMap::new();
    for room in rooms(CRASHES) {
        let process = NodeProcess::new(db.url(), room).callers(CALLERS).start();
        let mut lines = work(&process);
        server.stop_immediately();
        lines.extend(process.kill());
        server.restart().await;

        let store = db.open().await;
        let appends = witness::find(&store, room).await;
        node_process::told(&lines).check(&appends);
        found.extend(appends);
        let others = usize::try_from(room.0).unwrap();
        witness::check_log(&store, found.len(), others).await;
        store.close().await;
    }
}
