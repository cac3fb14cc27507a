//! A second process of the running test program, for tests that end or stop a whole process.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::{TestNetwork, this_program::this_program};

/// How long anything may take: far longer than on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(2);

/// Distinguishes the lines that a second process says from the output of the test harness.
const MARK: &str = "stoa-test> ";

/// A process that runs one ignored test of this test program and reports what it does line by line.
///
/// It is killed at the latest when this is dropped. If this process is itself killed, so that
/// nothing is dropped, the second process's standard input closes: see [`wait_for_the_end`].
#[derive(Debug)]
pub struct SecondProcess {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl SecondProcess {
    /// Starts the ignored test with the full name `test`, with these variables in its environment.
    pub fn start(test: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(this_program()), test, variables)
    }

    /// Starts it on the far host of the network.
    pub fn start_far(network: &TestNetwork, test: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(TestNetwork::command_on(network.far(), this_program()), test, variables)
    }

    fn spawn(mut command: Command, test: &str, variables: &[(&str, &str)]) -> Self {
        command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a second process");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("its output");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let said = line.split_once(MARK).map(|(_, said)| said.to_owned());
                if said.is_some_and(|said| sender.send(said).is_err()) {
                    return;
                }
            }
        });
        Self { child, input, lines }
    }

    /// The next line that it says; `None` once it has ended.
    pub fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the second process says nothing"),
        }
    }

    /// Waits until it says exactly this, and returns what it said before.
    pub fn wait_for(&self, expected: &str) -> Vec<String> {
        let mut before = Vec::new();
        while let Some(line) = self.next_line() {
            if line == expected {
                return before;
            }
            before.push(line);
        }
        panic!("the second process ended without saying `{expected}`, but: {before:?}");
    }

    /// Kills it with SIGKILL, and returns what else it has said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("an end");
        self.child.wait().expect("an end");
        self.lines.iter().collect()
    }

    /// Closes its standard input, which tells it to end, and returns what else it says.
    pub fn finish(mut self) -> Vec<String> {
        self.input = None;
        let lines = std::iter::from_fn(|| self.next_line()).collect();
        let status = self.child.wait().expect("an end");
        assert!(status.success(), "the second process failed: {status}");
        lines
    }

    /// Freezes it, and returns when it has stopped.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        self.wait_until_frozen();
    }

    /// Waits until it is frozen, no matter by whom.
    pub fn wait_until_frozen(&self) {
        wait_until("it is frozen", || state(self.child.id()) == Some('T'));
    }

    /// Wakes it up.
    pub fn wake(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the second process is there");
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        // If it has already ended, there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the second process: says a line to the first, whole or not at all.
pub fn say(line: &str) {
    // One write: a line of this length goes through a pipe in one piece.
    let line = format!("{MARK}{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
}

/// In the second process: returns when the first wants it to end, or has ended itself.
pub fn wait_for_the_end() {
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
}

/// In the second process: freezes it, and returns when somebody has woken it up.
pub async fn freeze_this_process() {
    let mut woken = signal(SignalKind::from_raw(Signal::CONT.as_raw())).expect("a handler");
    kill_process(rustix::process::getpid(), Signal::STOP).expect("this process is there");
    // The signal may take a moment to arrive, and the caller must not continue before.
    woken.recv().await;
}

/// The state of a process, as `proc(5)` names it; `None` if there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(Path::new(&format!("/proc/{pid}/stat"))).map(|(state, _)| state)
}

/// The processes that `parent` has started and that have not ended.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the processes").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let stat = stat(Path::new(&format!("/proc/{pid}/stat")));
        stat.is_some_and(|(state, its_parent)| state != 'Z' && its_parent == parent)
    })
    .collect()
}

/// A process's state and parent.
fn stat(file: &Path) -> Option<(char, u32)> {
    let text = fs::read_to_string(file).ok()?;
    // They follow the program's name, which is in parentheses and may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Waits until something is so, which must come soon.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !is_so() {
        assert!(waited < PATIENCE, "gave up waiting until {what}");
        sleep(TICK);
        waited += TICK;
    }
}
