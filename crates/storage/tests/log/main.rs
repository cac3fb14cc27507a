//! The log and the tables that it writes, on both databases with the same results.

mod accounts;
mod audit;
mod conflicts;
mod conformance;
mod cut_connections;
mod defaults;
mod device_changes;
mod disk;
mod disk_failures;
mod frozen;
mod jumps;
mod kills;
mod limits;
mod logged_rows;
mod newer_schema;
mod node_process;
mod order;
mod outages;
mod power_loss;
mod pruning;
mod schema;
mod standby;
mod store;
mod tables;
mod unended_calls;
mod wal;
mod witness;

use std::time::Duration;

use stoa_base::RoomNid;
use stoa_storage::{
    Backend, Conn,
    log::{Append, AppendError, Appended, Pending},
};
use stoa_testing::TestNode;

/// The room that most tests are about.
const ROOM: RoomNid = RoomNid(7);

/// Blocks the writer until the connection is dropped, which must be soon.
async fn hold(node: &TestNode) -> Conn {
    let mut conn = node.store.write().await.unwrap();
    if node.store.backend() == Backend::Postgres {
        conn.execute("SELECT pg_advisory_xact_lock(7310579619)", &[]).await.unwrap();
    }
    conn
}

/// Writes the appends in one batch.
async fn together(node: &TestNode, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
    let held = hold(node).await;
    // The writer takes this one alone and waits with it, so all others queue up behind it.
    let first = node.writer.enqueue(Append::new()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let pending: Vec<Pending> =
        appends.into_iter().map(|append| node.writer.enqueue(append).unwrap()).collect();
    drop(held);
    first.wait().await.unwrap();
    let mut answers = Vec::new();
    for pending in pending {
        answers.push(pending.wait().await);
    }
    answers
}

/// Writes one append, which must succeed.
async fn write(node: &TestNode, append: Append) -> Appended {
    node.writer.append(append).await.unwrap()
}

/// An append that `fill` fills.
fn with(fill: impl FnOnce(&mut Append)) -> Append {
    let mut append = Append::new();
    fill(&mut append);
    append
}
