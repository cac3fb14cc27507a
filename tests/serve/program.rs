//! The program, started in a folder of its own.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take. A machine that builds at the same time is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration in a folder of its own, and commands that use it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new(database_url: &str, more: &str) -> Self {
        let folder = TempDir::with_prefix("stoa-serve-").expect("a folder");
        let place = Self { folder };
        let config = format!(
            "data_dir = {:?}\n{more}\n\
             [listen]\nclient = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
             [database]\nurl = {database_url:?}\n\
             [registration]\nenabled = true\n",
            place.data_dir(),
        );
        fs::write(place.path("stoa.toml"), config).expect("a configuration");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoa"));
        command.arg("--config").arg(self.path("stoa.toml")).args(arguments);
        // The tests' own environment variables must not be taken for settings.
        for (name, _) in
            env::vars_os().filter(|(name, _)| text(name.as_bytes()).starts_with("STOA_"))
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut child = self.command(arguments).spawn().expect("the program starts");
        let started = Instant::now();
        while child.try_wait().expect("a state").is_none() {
            if started.elapsed() > PATIENCE {
                // Its output so far shows why it does not end.
                child.kill().expect("an end");
            }
            sleep(Duration::from_millis(20));
        }
        child.wait_with_output().expect("its output")
    }

    pub(crate) fn serve(&self) -> Running {
        self.serve_logging_to(Stdio::null())
    }

    pub(crate) fn serve_logging_to(&self, log: impl Into<Stdio>) -> Running {
        let mut command = self.command(&["serve"]);
        command.stderr(log);
        Running::start(command)
    }
}

/// A server that is killed at the latest when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Kept open, because a server whose output nobody reads could behave differently.
    _output: Lines<BufReader<ChildStdout>>,
    pub(crate) greeting: Vec<String>,
}

impl Running {
    /// Starts the server, and waits until it has printed its greeting.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut greeting = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            let is_last = line.trim_start().starts_with("user ");
            greeting.push(line);
            if is_last {
                break;
            }
        }
        Self { child, _output: lines, greeting }
    }

    /// The address in the line of the greeting that begins with `name`.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let line = self.greeting.iter().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {:?}", self.greeting));
        let url = line.split("http://").nth(1).expect("a URL");
        url.split('/').next().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// The answer to a GET of `path`.
    pub(crate) fn get(&self, name: &str, path: &str) -> String {
        get(self.address(name), path).expect("an answer")
    }

    /// The answer to a request with this body and token.
    pub(crate) fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Value {
        let answer = self.ask_with(method, path, token, "", body);
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// As [`Running::ask`], with further lines in the head, each with its end. The answer may be a
    /// refusal.
    pub(crate) fn ask_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        head: &str,
        body: &Value,
    ) -> String {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n{head}Content-Length: {}\r\n",
            body.len(),
        );
        answer(self.address("clients"), &format!("{head}\r\n{body}")).expect("an answer")
    }

    /// Creates an account, and returns its access token.
    pub(crate) fn register(&self, name: &str, password: &str) -> String {
        let auth = json!({ "type": "m.login.dummy" });
        let request = json!({ "username": name, "password": password, "auth": auth });
        let made = self.ask("POST", "/_matrix/client/v3/register", "none", &request);
        made["access_token"].as_str().expect("a token").to_owned()
    }

    /// Creates a room, and returns its ID, encoded for paths.
    pub(crate) fn create_room(&self, token: &str) -> String {
        let made = self.ask("POST", "/_matrix/client/v3/createRoom", token, &json!({}));
        made["room_id"].as_str().expect("a room ID").replace('!', "%21")
    }

    /// Sends a text to a room.
    pub(crate) fn send(&self, token: &str, room: &str, txn_id: &str, text: &str) {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn_id}");
        self.ask("PUT", &path, token, &json!({ "msgtype": "m.text", "body": text }));
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Tells the server to stop, and says how long it took.
    pub(crate) fn stop(mut self) -> Duration {
        let started = Instant::now();
        self.signal("-TERM");
        let status = self.child.wait().expect("an end");
        assert!(status.success(), "{status}");
        started.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    answer(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

fn answer(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
