//! A node freezes. Nobody on another node waits for it, and when it wakes up it continues as if
//! nothing had happened, without writing anything twice or losing anything.

use std::time::{Duration, Instant};

use stoa_base::RoomNid;
use stoa_testing::{Backend, PostgresProxy, SecondProcess, TestDatabase, TestNode, run_on, sample};

use crate::{
    node_process::{self, NodeProcess},
    witness::{self, Told},
    write,
};

/// How long a caller on another node may wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the node is frozen: longer than any of the server's own time-outs.
const FREEZE: Duration = Duration::from_millis(2_500);
/// A busy machine makes callers wait too, though hardly in every attempt.
const ATTEMPTS: i64 = 3;

/// A frozen node, and what is needed to wake it up.
struct Frozen {
    process: SecondProcess,
    /// The proxy to the database, if there is one.
    _proxy: Option<PostgresProxy>,
    /// Whether it may give up the append that it was building, since it ran out of time.
    may_give_up: bool,
}

impl Frozen {
    /// Wakes the node up, lets its callers finish, and returns what they were told.
    fn wake(self) -> Told {
        self.process.wake();
        node_process::told(&self.process.finish())
    }
}

/// Freezes a node by `freeze`, and compares what its callers and those of another node were told
/// with what exists. Repeats it if one of the others had to wait.
async fn check(db: &TestDatabase, freeze: impl AsyncFn(RoomNid) -> Frozen) {
    let neighbour = TestNode::start(db).await;
    let mut waits = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let (room, elsewhere) = (RoomNid(2 * attempt), RoomNid(2 * attempt + 1));
        write(&neighbour, sample::creation(elsewhere)).await;
        let frozen = freeze(room).await;
        let (told_elsewhere, longest_wait) = append_meanwhile(&neighbour, elsewhere).await;
        let may_give_up = frozen.may_give_up;
        let told = frozen.wake();
        let given_up = told.not_written.len();
        assert!(given_up == 0 || (may_give_up && given_up == 1), "{told:?}");
        assert!(told_elsewhere.not_written.is_empty(), "{told_elsewhere:?}");
        for (room, told) in [(room, told), (elsewhere, told_elsewhere)] {
            assert!(told.unknown.is_empty(), "{told:?}");
            let found = witness::find(&neighbour.store, room).await;
            assert_eq!(found, told.written);
        }
        waits.push(longest_wait);
        if longest_wait < PATIENCE {
            return;
        }
    }
    panic!("others had to wait: {waits:?}");
}

/// Appends on another node for as long as the freeze lasts. Returns the longest time that an append
/// took.
async fn append_meanwhile(node: &TestNode, room: RoomNid) -> (Told, Duration) {
    let mut told = Told::default();
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    for count in 1.. {
        let nid = witness::nid(room.0, count);
        let asked = Instant::now();
        told.add(nid, &node.writer.append(witness::append(room, nid)).await);
        longest = longest.max(asked.elapsed());
        if began.elapsed() > FREEZE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (told, longest)
}

#[test]
fn nobody_waits_for_a_node_that_freezes_when_its_call_is_sent() {
    run_on(Backend::Postgres, async |db| {
        check(db, async |room| {
            let proxy = PostgresProxy::start(db.url()).await;
            let process = NodeProcess::new(proxy.url(), room).callers(3).start();
            let call = proxy.catch().await;
            process.freeze();
            call.pass_on().await;
            Frozen { process, _proxy: Some(proxy), may_give_up: false }
        })
        .await;
    });
}

#[test]
fn nobody_waits_for_a_node_that_freezes_before_it_reads_the_reply() {
    run_on(Backend::Postgres, async |db| {
        check(db, async |room| {
            let proxy = PostgresProxy::start(db.url()).await;
            let process = NodeProcess::new(proxy.url(), room).callers(3).start();
            let reply = proxy.catch().await.until_reply().await;
            process.freeze();
            reply.pass_on().await;
            Frozen { process, _proxy: Some(proxy), may_give_up: false }
        })
        .await;
    });
}

#[test]
fn nobody_waits_for_a_node_that_freezes_while_it_builds_an_append_under_the_lock() {
    run_on(Backend::Postgres, async |db| {
        check(db, async |room| {
            let process = NodeProcess::new(db.url(), room).callers(3).that_freezes().start();
            process.wait_until_frozen();
            Frozen { process, _proxy: None, may_give_up: true }
        })
        .await;
    });
}

#[test]
fn nobody_waits_for_a_node_that_freezes_before_it_commits_what_it_built_under_the_lock() {
    run_on(Backend::Postgres, async |db| {
        check(db, async |room| {
            let proxy = PostgresProxy::start(db.url()).await;
            let (creation, call) = (proxy.catch(), proxy.catch());
            tokio::spawn(async { creation.await.pass_on().await });
            let process = NodeProcess::new(proxy.url(), room).callers(3).that_locks().start();
            let reply = call.await.until_reply().await;
            process.freeze();
            reply.pass_on().await;
            Frozen { process, _proxy: Some(proxy), may_give_up: false }
        })
        .await;
    });
}
