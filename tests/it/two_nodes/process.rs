//! The built program as a node, which can be killed and frozen.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

use super::call::{Answer, Call};

/// A node of its own, with a folder of its own. It is killed when it is dropped.
pub(super) struct Process {
    folder: TempDir,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    address: SocketAddr,
    /// Kept open, because a server whose output nobody reads could behave differently.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) async fn start(database_url: &str) -> Self {
        let folder = TempDir::with_prefix("stoa-node-").unwrap();
        let config = format!(
            "server_name = \"test\"\ndata_dir = {:?}\n\
             [listen]\nclient = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
             [database]\nurl = {database_url:?}\nmax_connections = 8\n\
             [registration]\nenabled = true\n[limits]\nenabled = false\n",
            folder.path().join("data"),
        );
        fs::write(folder.path().join("stoa.toml"), config).unwrap();
        let process = Self { folder, running: Mutex::default() };
        process.restart().await;
        process
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("stoa.toml")
    }

    /// Starts the program, and waits until it says that it serves.
    pub(super) async fn restart(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoa"));
        command.arg("--config").arg(self.config()).arg("serve").kill_on_drop(true);
        // The tests' own environment variables must not be taken for settings.
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| name.to_string_lossy().starts_with("STOA_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = None;
        while let Some(line) = output.next_line().await.unwrap() {
            if line.trim_start().starts_with("clients ") {
                let rest = line.split("http://").nth(1).expect("a URL");
                address = Some(rest.trim_end_matches('/').parse().expect("an address"));
            }
            if line.trim_start().starts_with("user ") {
                break;
            }
        }
        let address = address.expect("the node says what it serves");
        *self.lock() = Some(Running { child, address, _output: output });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn kill(&self) {
        let mut running = self.lock().take().expect("a node that runs");
        running.child.kill().await.unwrap();
    }

    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let running = self.lock();
        let id = running.as_ref().and_then(|running| running.child.id()).expect("a process");
        let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// The answer; `None` if the node is not running, or dies before it has answered.
    pub(super) async fn call(&self, call: &Call<'_>) -> Option<Answer> {
        let address = self.lock().as_ref()?.address;
        let stream = TcpStream::connect(address).await.ok()?;
        exchange(stream, call).await
    }
}

async fn exchange(mut stream: TcpStream, call: &Call<'_>) -> Option<Answer> {
    let body = call.body.as_ref().map(Value::to_string).unwrap_or_default();
    let (method, path, length) = (&call.method, &call.path, body.len());
    let token = call.token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{token}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).expect("text");
    // An answer cut off by killing the node does not count.
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_str(body).ok()? })
}
