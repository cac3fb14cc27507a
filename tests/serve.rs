//! The program as an admin runs it: started, asked, told to stop.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use stoa_storage::repo::jobs;
use stoa_testing::{TestDatabase, both_databases, surgery};
use tempfile::TempDir;

/// How long anything may take. A machine that builds at the same time is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration in a folder of its own, and commands that use it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(database_url: &str, more: &str) -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stoa"));
        command.arg("--config").arg(self.path("stoa.toml")).args(arguments);
        // The tests' own variables are no settings.
        for (name, _) in
            env::vars_os().filter(|(name, _)| text(name.as_bytes()).starts_with("STOA_"))
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut child = self.command(arguments).spawn().expect("the program starts");
        let started = Instant::now();
        while child.try_wait().expect("a state").is_none() {
            if started.elapsed() > PATIENCE {
                // What it has said so far tells why it does not end.
                child.kill().expect("an end");
            }
            sleep(Duration::from_millis(20));
        }
        child.wait_with_output().expect("its output")
    }

    fn serve(&self) -> Running {
        self.serve_logging_to(Stdio::null())
    }

    fn serve_logging_to(&self, log: impl Into<Stdio>) -> Running {
        let mut command = self.command(&["serve"]);
        command.stderr(log);
        Running::start(command)
    }
}

/// A server that is killed at the latest when it is dropped.
struct Running {
    child: Child,
    /// Kept open: a server that nobody listens to could behave differently.
    _output: Lines<BufReader<ChildStdout>>,
    greeting: Vec<String>,
}

impl Running {
    /// Starts the server, and waits until it says what comes next.
    fn start(mut command: Command) -> Self {
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
    fn address(&self, name: &str) -> SocketAddr {
        let line = self.greeting.iter().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {:?}", self.greeting));
        let url = line.split("http://").nth(1).expect("a URL");
        url.split('/').next().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// What `path` answers.
    fn get(&self, name: &str, path: &str) -> String {
        get(self.address(name), path).expect("an answer")
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Tells the server to stop, and says how long it took.
    fn stop(mut self) -> Duration {
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
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

both_databases! {
    async fn a_server_says_what_to_do_and_does_what_it_is_told(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        let server = place.serve();
        let greeting = server.greeting.join("\n");
        assert!(greeting.contains("create-user --admin alice"), "{greeting}");
        assert!(greeting.contains("@alice:localhost"), "{greeting}");
        assert!(greeting.contains(place.data_dir().to_str().unwrap()) || db.url().contains("sqlite"));

        // Through the running server, by a socket that nobody else may open.
        assert_eq!(mode(&place.data_dir().join("stoa.sock")), 0o600);
        assert_eq!(mode(&place.data_dir()), 0o700);
        let made = place.run(&["create-user", "--admin", "alice"]);
        let said = text(&made.stdout);
        assert!(made.status.success(), "{}", text(&made.stderr));
        assert!(said.starts_with("Made @alice:localhost, an admin.\nThe password is "), "{said}");
        let again = place.run(&["create-user", "alice"]);
        assert!(!again.status.success());
        assert!(text(&again.stderr).contains("taken"), "{}", text(&again.stderr));
        let migrated = place.run(&["migrate"]);
        assert!(text(&migrated.stdout).contains("The server runs"), "{}", text(&migrated.stdout));

        assert!(server.get("clients", "/ready").contains("200 OK"));
        let metrics = server.get("metrics", "/metrics");
        for name in [
            "stoa_http_request_duration_seconds_bucket{method=\"GET\",route=\"/ready\"",
            "stoa_panics_total 0",
            "stoa_log_applied",
            "stoa_database_connections",
            "stoa_database_statements_total{kind=\"read\"}",
        ] {
            assert!(metrics.contains(name), "{name} is missing in {metrics}");
        }
        assert!(server.get("metrics", "/health").contains("200 OK"));

        assert!(server.stop() < PATIENCE);
        assert!(!place.data_dir().join("stoa.sock").exists());
    }

    async fn commands_work_without_a_server(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        let migrated = place.run(&["migrate"]);
        assert!(migrated.status.success(), "{}", text(&migrated.stderr));
        assert!(text(&migrated.stdout).contains("applied"), "{}", text(&migrated.stdout));
        let again = place.run(&["migrate"]);
        assert_eq!(text(&again.stdout), "The database is up to date.\n");

        let mut command = place.command(&["create-user", "bob", "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        child.stdin.take().expect("its input").write_all(b"secret word\n").expect("written");
        let made = child.wait_with_output().expect("an end");
        assert_eq!(text(&made.stdout), "Made @bob:localhost.\n", "{}", text(&made.stderr));
    }

    async fn a_database_belongs_to_its_server_name(db: TestDatabase) {
        let first = Place::new(db.url(), "server_name = \"one.example\"");
        assert!(first.run(&["migrate"]).status.success());
        let second = Place::new(db.url(), "server_name = \"two.example\"");
        for command in ["serve", "migrate"] {
            let refused = second.run(&[command]);
            assert!(!refused.status.success());
            let said = text(&refused.stderr);
            assert!(said.contains("one.example") && said.contains("two.example"), "{said}");
        }
    }

    async fn the_audit_log_is_checked_with_a_server_and_without(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        let checked = place.run(&["audit", "verify"]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(text(&checked.stderr).contains("run `stoa migrate`"), "{}", text(&checked.stderr));
        let log = fs::File::create(place.path("log")).expect("a log");
        let server = place.serve_logging_to(log);
        assert!(place.run(&["create-user", "alice"]).status.success());
        let checked = place.run(&["audit", "verify"]);
        assert!(checked.status.success(), "{}", text(&checked.stderr));
        let said = text(&checked.stdout);
        assert!(said.contains("Entries checked: 1\nLinks checked: 1\nHead: "), "{said}");
        server.stop();

        let log = fs::read_to_string(place.path("log")).expect("a log");
        let head = log.lines().rfind(|line| line.contains("stoa-audit-head/1")).expect("a head");
        let with_head = |head: &str| {
            let checked = place.run(&["audit", "verify", "--head", head]);
            (checked.status.code(), text(&checked.stderr))
        };
        assert_eq!(with_head(head), (Some(0), String::new()));
        let (code, said) = with_head("another line");
        assert_eq!(code, Some(1));
        assert!(said.contains("`--head` needs a whole line"), "{said}");
        let (code, said) = with_head(&head.replace("pos=", "pos=1"));
        assert_eq!(code, Some(1));
        assert!(said.contains("signature"), "{said}");

        let store = db.open().await;
        surgery::falsify_audit(&store, "alice", "carol").await;
        let (code, said) = with_head(head);
        assert_eq!(code, Some(1));
        assert!(said.contains("does not fit the entries there"), "{said}");
        surgery::falsify_audit(&store, "carol", "alice").await;
        assert_eq!(with_head(head).0, Some(0));
        surgery::cut_audit_off(&store).await;
        store.close().await;
        let (code, said) = with_head(head);
        assert_eq!(code, Some(1));
        assert!(said.contains("does not contain the exported head"), "{said}");
    }

    async fn jobs_are_looked_after_with_a_server_and_without(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        assert!(place.run(&["create-user", "alice"]).status.success());
        let store = db.open().await;
        for name in ["alice", "nobody"] {
            let parameters = format!(r#"{{"user_id":"@{name}:localhost","erase":false}}"#);
            let mut conn = store.write().await.expect("a connection");
            let job = jobs::NewJob {
                kind: "deactivate_account",
                parameters: &parameters,
                actor: "@alice:localhost",
                delay_ms: 0,
            };
            jobs::insert(&mut conn, &job, 10).await.expect("a job").expect("a job");
            conn.commit().await.expect("a commit");
        }
        store.close().await;
        let said = |arguments: &[&str]| {
            let done = place.run(arguments);
            let said = [text(&done.stdout), text(&done.stderr)].concat();
            (done.status.success(), said)
        };

        // To look at jobs is not to run them.
        for _ in 0..3 {
            let (is_done, listed) = said(&["jobs", "list"]);
            assert!(is_done && listed.lines().count() == 2, "{listed}");
            assert!(listed.lines().all(|line| line.contains("waiting")), "{listed}");
        }
        let (_, shown) = said(&["jobs", "show", "1"]);
        for line in ["job         1", "asked by    @alice:localhost", "attempts    0"] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
        let (is_done, shown) = said(&["jobs", "cancel", "1"]);
        assert!(is_done && shown.contains("cancelled"), "{shown}");
        assert_eq!(said(&["jobs", "cancel", "1"]), (false, "error: job 1 has ended already\n".to_owned()));
        let (is_done, shown) = said(&["jobs", "restart", "1"]);
        assert!(is_done && shown.lines().any(|line| line == "state       waiting"), "{shown}");
        let refused = "error: job 1 has neither failed nor been cancelled\n".to_owned();
        assert_eq!(said(&["jobs", "restart", "1"]), (false, refused));
        assert!(said(&["jobs", "cancel", "1"]).0);
        assert_eq!(said(&["jobs", "show", "7"]), (false, "error: there is no job 7\n".to_owned()));

        let server = place.serve();
        let began = Instant::now();
        while !said(&["jobs", "list"]).1.contains("failed") {
            assert!(began.elapsed() < PATIENCE, "the other job does not end");
            sleep(Duration::from_millis(100));
        }
        let (_, shown) = said(&["jobs", "show", "2"]);
        assert!(shown.contains("error       there is no such user"), "{shown}");
        server.stop();
    }

    async fn versions_are_answered_soon_after_the_start(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        place.serve().stop();
        let started = Instant::now();
        let server = place.serve();
        assert!(server.get("clients", "/_matrix/client/versions").contains("v1.19"));
        let elapsed = started.elapsed();
        // 300 ms is what is promised on a quiet machine and of an optimised build.
        assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
        server.stop();
    }
}

#[test]
fn a_second_server_on_one_folder_is_refused() {
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let server = place.serve();
    let second = place.run(&["serve"]);
    assert!(!second.status.success());
    let said = text(&second.stderr);
    assert!(said.contains("another Stoa is running"), "{said}");
    // Another data folder does not make it another database.
    let elsewhere = Place::new(database.url(), "");
    let third = elsewhere.run(&["serve"]);
    assert!(text(&third.stderr).contains("another Stoa is running"), "{}", text(&third.stderr));
    server.stop();
}

#[test]
fn a_server_that_was_killed_is_in_nobodys_way() {
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let server = place.serve();
    server.signal("-KILL");
    drop(server);
    assert!(place.data_dir().join("stoa.sock").exists());
    assert!(place.run(&["create-user", "alice"]).status.success());
    place.serve().stop();
}

#[test]
fn an_interrupt_stops_the_server_too() {
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let mut server = place.serve();
    server.signal("-INT");
    assert!(server.child.wait().expect("an end").success());
}
