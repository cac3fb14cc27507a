//! Runs other programs, and never leaves one behind.
//!
//! Each is the leader of a process group of its own. So ^C in the terminal reaches only this
//! program, which then ends its children in the right order, with whatever they started.

use std::{
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// How often a wait looks for an interrupt.
const TICK: Duration = Duration::from_millis(50);

/// How long a program may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts programs, and gives up waiting for them when this program is asked to end.
pub(crate) struct Runner {
    interrupted: Arc<AtomicBool>,
}

/// A program that has ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// What it wrote to standard output and standard error, in the order written.
    pub(crate) output: String,
}

impl Runner {
    /// From now on a signal to end is only noted, and seen by the next wait.
    pub(crate) fn new() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .map_err(Error::Signals)?;
        }
        Ok(Self { interrupted })
    }

    /// Runs a program to its end, and hands over each line it writes as it comes.
    pub(crate) fn follow(
        &self,
        mut command: Command,
        mut on_line: impl FnMut(&str),
    ) -> Result<Finished> {
        let cannot_start = start_error(&command);
        let (reader, writer) = io::pipe().map_err(&cannot_start)?;
        let second_writer = writer.try_clone().map_err(&cannot_start)?;
        command.stdin(Stdio::null()).stdout(writer).stderr(second_writer);
        let mut group = Group::start(&mut command)?;
        // The command keeps its ends of the pipe open, and the last line would never come.
        drop(command);

        let lines = read_lines(reader);
        let mut output = String::new();
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    on_line(&line);
                    output.push_str(&line);
                    output.push('\n');
                }
                // A grandchild may hold the pipe open forever.
                Err(RecvTimeoutError::Timeout) if group.status()?.is_some() => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.check()?;
        }
        loop {
            if let Some(status) = group.status()? {
                return Ok(Finished { status, output });
            }
            self.pause()?;
        }
    }

    /// Runs a program to its end, silently.
    pub(crate) fn run(&self, command: Command) -> Result<Finished> {
        self.follow(command, |_| {})
    }

    /// Runs a program that has to succeed, and returns what it wrote.
    pub(crate) fn output_of(&self, command: Command) -> Result<String> {
        let name = format!("{command:?}");
        let finished = self.run(command)?;
        if finished.status.success() {
            return Ok(finished.output);
        }
        Err(Error::Command {
            command: name,
            status: finished.status.to_string(),
            output: finished.output,
        })
    }

    /// Fails if this program has been asked to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits for a moment, or fails if this program has been asked to end.
    pub(crate) fn pause(&self) -> Result<()> {
        self.check()?;
        thread::sleep(TICK);
        self.check()
    }

    pub(crate) fn wait_for_interrupt(&self) {
        while self.pause().is_ok() {}
    }
}

/// A running program with everything it started; dropping it ends them.
pub(crate) struct Group {
    child: Child,
    leader: Pid,
}

impl Group {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let cannot_start = start_error(command);
        let child = command.process_group(0).spawn().map_err(&cannot_start)?;
        let leader = Pid::from_child(&child);
        Ok(Self { child, leader })
    }

    /// How the program ended, if it has.
    pub(crate) fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(|source| Error::Start { program: self.leader.to_string(), source })
    }

    /// Asks the program itself to end by `signal`, and ends it by force if it does not.
    pub(crate) fn end(&mut self, signal: Signal) {
        let mut waited = Duration::ZERO;
        // An error means that the program is gone, which the loop finds out.
        let _ = kill_process(self.leader, signal);
        while waited < PATIENCE && matches!(self.status(), Ok(None)) {
            thread::sleep(TICK);
            waited += TICK;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.status(), Ok(None)) {
            let _ = kill_process_group(self.leader, Signal::TERM);
            self.end(Signal::TERM);
        }
        // What the program leaves behind belongs to its group. Usually there is nothing left,
        // and an error says so.
        let _ = kill_process_group(self.leader, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn read_lines(reader: io::PipeReader) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    receiver
}

fn start_error(command: &Command) -> impl Fn(io::Error) -> Error + use<> {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| Error::Start { program: program.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn runner() -> Runner {
        Runner { interrupted: Arc::new(AtomicBool::new(false)) }
    }

    fn is_running(pid: &str) -> bool {
        // A process that has ended but that nobody has waited for yet still has a folder.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn both_outputs_arrive_in_the_order_written() {
        let mut lines = Vec::new();
        let finished = runner()
            .follow(shell("echo one; echo two >&2; echo three; exit 3"), |line| {
                lines.push(line.to_owned());
            })
            .unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(finished.output, "one\ntwo\nthree\n");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn a_grandchild_is_neither_waited_for_nor_left_behind() {
        let finished = runner().run(shell("sleep 600 & echo $!")).unwrap();
        let pid = finished.output.trim();
        while is_running(pid) {
            thread::sleep(TICK);
        }
    }

    #[test]
    fn an_interrupt_ends_the_program() {
        let runner = runner();
        let mut pid = String::new();
        let outcome = runner.follow(shell("echo $$; exec sleep 600"), |line| {
            line.clone_into(&mut pid);
            runner.interrupted.store(true, Ordering::Relaxed);
        });
        assert!(matches!(outcome, Err(Error::Interrupted)));
        assert!(!is_running(&pid));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = runner().run(Command::new("no-such-program")).err().unwrap();
        assert!(error.to_string().starts_with("cannot run `no-such-program`"));
    }
}
