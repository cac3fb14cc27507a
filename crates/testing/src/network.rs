//! A network for one test: two hosts, and a link between them that can be cut silently, as when a
//! host loses its power or a switch drops everything. Neither side is notified, and no RST arrives.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use crate::{database::is_required, this_program::this_program};

/// The addresses of the two ends of the link.
const NEAR_END: &str = "near0";
const FAR_END: &str = "far0";

/// An address where nobody listens. Packets sent there are lost.
const NOBODY: &str = "02:00:00:00:00:01";

/// Runs the ignored test with the full name `test` in a network of its own, which only root can
/// create. For other users, it passes and prints a note.
pub fn in_own_network(test: &str) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a network for a test");
        return;
    }
    let mut attempt = Command::new("unshare");
    attempt.args(["--net", "--", "ip", "link", "set", "lo", "up"]);
    if !attempt.output().is_ok_and(|output| output.status.success()) {
        let why = "a network for a test takes `ip` (Debian: iproute2) and the right to make one";
        assert!(!is_required(), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(this_program());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let status = command.status().expect("a process in a network of its own");
    assert!(status.success(), "{test} failed in its network: {status}");
}

/// The near host, which is this process's, and another one behind a link. Needs a process that
/// [`in_own_network`] has started.
#[derive(Debug)]
pub struct TestNetwork {
    /// Keeps the far host's network alive. It ends with this process.
    far: Child,
}

impl TestNetwork {
    /// The near host's address on the link.
    pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 1);
    /// The far host's address.
    pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 2);

    /// Makes the far host and the link to it.
    #[expect(clippy::new_without_default, reason = "it does a lot")]
    pub fn new() -> Self {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut far = keeper.spawn().expect("a host");
        // Once the process answers, it is in its network.
        far.stdin.as_mut().expect("its input").write_all(b"\n").expect("it listens");
        let mut line = String::new();
        let output = far.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("it answers");

        let network = Self { far };
        let host = network.far().to_string();
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", NEAR_END, "type", "veth", "peer", "name", FAR_END, "netns", &host]);
        ip(&["addr", "add", &format!("{}/30", Self::NEAR), "dev", NEAR_END]);
        ip(&["link", "set", NEAR_END, "up"]);
        network.far_ip(&["link", "set", "lo", "up"]);
        network.far_ip(&["addr", "add", &format!("{}/30", Self::FAR), "dev", FAR_END]);
        network.far_ip(&["link", "set", FAR_END, "up"]);
        network
    }

    /// Cuts the link. Both hosts keep sending, and nothing arrives.
    pub fn cut(&self) -> Cut<'_> {
        let lose = ["lladdr", NOBODY, "nud", "permanent", "dev"];
        let (near, far) = (Self::NEAR.to_string(), Self::FAR.to_string());
        ip(&[&["neigh", "replace", &*far], &lose[..], &[NEAR_END]].concat());
        self.far_ip(&[&["neigh", "replace", &*near], &lose[..], &[FAR_END]].concat());
        Cut(self)
    }

    fn mend(&self) {
        ip(&["neigh", "del", &Self::FAR.to_string(), "dev", NEAR_END]);
        self.far_ip(&["neigh", "del", &Self::NEAR.to_string(), "dev", FAR_END]);
    }

    /// The ID of the process that the far host's network belongs to.
    pub(crate) fn far(&self) -> u32 {
        self.far.id()
    }

    /// A command that runs a program in the network of the process `host`.
    pub(crate) fn command_on(host: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{host}/ns/net")).arg("--").arg(program);
        command
    }

    fn far_ip(&self, arguments: &[&str]) {
        succeed(Self::command_on(self.far(), "ip").args(arguments));
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.far.kill();
        let _ = self.far.wait();
    }
}

/// A link that stays cut until this is dropped.
#[derive(Debug)]
pub struct Cut<'a>(&'a TestNetwork);

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.mend();
    }
}

fn ip(arguments: &[&str]) {
    succeed(Command::new("ip").args(arguments));
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("`ip` runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
