//! A node in a process of its own, whose callers append without pause.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use stoa_base::RoomNid;
use stoa_storage::{Options, Store, log::AppendError};
use stoa_testing::{
    SecondProcess, TestNode, TestNodeOptions, sample,
    second_process::{freeze_this_process, say, wait_for_the_end},
};

use crate::witness::{self, Told};

/// The full name of the test that runs the node.
const TEST: &str = "node_process::node";

/// What the process should do.
#[derive(Clone, Debug)]
pub(crate) struct NodeProcess {
    url: String,
    /// The room that its callers append to, which it creates if necessary.
    room: RoomNid,
    callers: i64,
    variables: Vec<(&'static str, String)>,
}

impl NodeProcess {
    pub(crate) fn new(url: &str, room: RoomNid) -> Self {
        Self { url: url.to_owned(), room, callers: 1, variables: Vec::new() }
    }

    /// How many callers append at the same time.
    pub(crate) fn callers(self, callers: i64) -> Self {
        Self { callers, ..self }
    }

    /// Makes the process build an append under the log lock before the callers begin.
    pub(crate) fn that_locks(self) -> Self {
        self.variable("STOA_NODE_LOCKS", "1")
    }

    /// Makes the process freeze itself while that append is built.
    pub(crate) fn that_freezes(self) -> Self {
        self.that_locks().variable("STOA_NODE_FREEZES", "1")
    }

    /// Sets an environment variable of the process.
    pub(crate) fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Starts the process, and returns when its callers begin.
    pub(crate) fn start(&self) -> SecondProcess {
        let (room, callers) = (self.room.0.to_string(), self.callers.to_string());
        let mut variables = vec![
            ("STOA_NODE_URL", &*self.url),
            ("STOA_NODE_ROOM", &room),
            ("STOA_NODE_CALLERS", &callers),
        ];
        variables.extend(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        let process = SecondProcess::start(TEST, &variables);
        process.wait_for("begin");
        process
    }
}

/// Parses what a node has said about its callers' appends.
pub(crate) fn told(lines: &[String]) -> Told {
    let mut told = Told::default();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["written", nid, base] => {
                told.written.insert(nid.parse().unwrap(), base.parse().unwrap());
            }
            ["unknown", nid] => _ = told.unknown.insert(nid.parse().unwrap()),
            ["not", "written", nid] => _ = told.not_written.insert(nid.parse().unwrap()),
            _ => panic!("a node says: {line}"),
        }
    }
    told
}

fn tell(nid: i64, answer: &Result<stoa_storage::log::Appended, AppendError>) {
    match answer {
        Ok(appended) => say(&format!("written {nid} {}", witness::base(*appended))),
        Err(AppendError::Unavailable) => say(&format!("unknown {nid}")),
        Err(_) => say(&format!("not written {nid}")),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(format!("STOA_NODE_{name}")).ok()
}

#[test]
#[ignore = "the tests that kill, freeze or cut off a node run it in a process of its own"]
fn node() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ending = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&ending);
    std::thread::spawn(move || {
        wait_for_the_end();
        noticed.store(true, Ordering::Relaxed);
    });
    runtime.block_on(run(ending));
}

async fn run(ending: Arc<AtomicBool>) {
    let room = RoomNid(variable("ROOM").unwrap().parse().unwrap());
    let callers: i64 = variable("CALLERS").unwrap().parse().unwrap();
    let url = variable("URL").unwrap();
    let options = Options { url, direct_url: None, max_connections: 4 };
    let store = Store::open(&options).await.unwrap();
    let node = TestNode::start_on(store, TestNodeOptions::default()).await;
    // The room exists already unless this is its first node.
    let made = node.writer.append(sample::creation(room)).await;
    assert!(matches!(made, Ok(_) | Err(AppendError::Conflict)));
    say("begin");
    if variable("LOCKS").is_some() {
        append_locked(&node, room).await;
    }
    let mut calling = tokio::task::JoinSet::new();
    for caller in 0..callers {
        calling.spawn(call(node.clone(), room, room.0 * callers + caller, Arc::clone(&ending)));
    }
    calling.join_all().await;
}

/// Appends without pause, and says what the outcome was.
async fn call(node: TestNode, room: RoomNid, caller: i64, ending: Arc<AtomicBool>) {
    for count in 1.. {
        let nid = witness::nid(caller, count);
        tell(nid, &node.writer.append(witness::append(room, nid)).await);
        if ending.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// Appends something that is built under the log lock.
async fn append_locked(node: &TestNode, room: RoomNid) {
    let nid = witness::nid(room.0 * 1_000, 1);
    let build = move || async move {
        if variable("FREEZES").is_some() {
            freeze_this_process().await;
        }
        Ok(witness::append(room, nid))
    };
    tell(nid, &node.writer.append_locked(build).await);
}
