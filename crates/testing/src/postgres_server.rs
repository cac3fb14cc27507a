//! A PostgreSQL server that belongs to one test, for things that cannot be done to a shared one.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::{
    TestNetwork,
    database::postgres_server,
    second_process::{children_of, state, wait_until},
};

/// Where Debian installs PostgreSQL, with a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The user that Debian's PostgreSQL package creates. A server refuses to run as root.
const USER: &str = "postgres";

const ATTEMPTS: usize = 3_000;
const PAUSE: Duration = Duration::from_millis(20);

/// A PostgreSQL server in a folder of its own, which flushes as a real one does. Dropping it
/// removes it.
#[derive(Debug)]
pub struct TestPostgres {
    server: Option<Child>,
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    place: Place,
}

/// Where a server runs.
#[derive(Debug)]
enum Place {
    /// On this host, for this host only.
    Here,
    /// On this host, also for the host beyond the link of a [`TestNetwork`].
    Near,
    /// On the far host, whose network belongs to the process with this ID.
    Far(u32),
}

impl Place {
    /// The address at which tests reach the server.
    fn address(&self) -> Ipv4Addr {
        match self {
            Self::Here | Self::Near => Ipv4Addr::LOCALHOST,
            Self::Far(_) => TestNetwork::FAR,
        }
    }
}

impl TestPostgres {
    /// A new server; `None` if tests run without PostgreSQL.
    pub async fn start() -> Option<Self> {
        Self::start_at(Place::Here).await
    }

    /// A new server that the far host of the network can reach too, at [`TestNetwork::NEAR`].
    pub async fn start_near(_: &TestNetwork) -> Option<Self> {
        Self::start_at(Place::Near).await
    }

    /// A new server on the far host of the network.
    pub async fn start_far(network: &TestNetwork) -> Option<Self> {
        Self::start_at(Place::Far(network.far())).await
    }

    async fn start_at(place: Place) -> Option<Self> {
        postgres_server()?;
        let programs = programs();
        // Unlike `/tmp`, this is on disk everywhere. A flush to memory would prove nothing.
        let folder = TempDir::with_prefix_in("stoa-postgres-", "/var/tmp").expect("a folder");
        let mut server = Self { server: None, programs, folder, port: free_port(), place };
        if is_root() {
            let mut chown = Command::new("chown");
            succeed(chown.arg(USER).arg(server.folder.path()));
        }
        let mut initdb = server.command("initdb");
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
            "-D",
        ]);
        succeed(initdb.arg(server.data()).stdout(Stdio::null()));
        server.trust_neighbours();
        server.restart().await;
        Some(server)
    }

    /// Accepts clients from all networks of the server's host.
    fn trust_neighbours(&self) {
        let file = self.data().join("pg_hba.conf");
        let mut rules = fs::read_to_string(&file).expect("the rules of access");
        rules.push_str("host all all samenet trust\n");
        fs::write(&file, rules).expect("the rules of access");
    }

    /// The URL of its superuser, which stays the same across restarts.
    pub fn url(&self) -> String {
        self.url_at(self.place.address())
    }

    /// The URL at another address of its host.
    pub fn url_at(&self, address: Ipv4Addr) -> String {
        format!("postgres://postgres@{address}:{}/postgres", self.port)
    }

    /// Starts the stopped server, and returns when it answers.
    pub async fn restart(&mut self) {
        for _ in 0..ATTEMPTS {
            let is_running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
            if !self.server.as_mut().is_some_and(is_running) {
                self.server = Some(self.spawn());
            }
            tokio::time::sleep(PAUSE).await;
            if let Ok(conn) = PgConnection::connect(&self.url()).await {
                // The server also notices a connection that is dropped.
                let _ = conn.close().await;
                return;
            }
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        panic!("the PostgreSQL of this test does not start: {log}");
    }

    /// A standby of this server, made from a copy taken now. If this server waits for a synchronous
    /// standby named `standby`, this is the one.
    pub async fn standby(&self) -> Self {
        let folder = TempDir::with_prefix_in("stoa-standby-", "/var/tmp").expect("a folder");
        if is_root() {
            succeed(Command::new("chown").arg(USER).arg(folder.path()));
        }
        let programs = self.programs.clone();
        let mut standby =
            Self { server: None, programs, folder, port: free_port(), place: Place::Here };
        let mut copy = standby.command("pg_basebackup");
        copy.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "-d"]);
        copy.arg(format!(
            "host=127.0.0.1 port={} user=postgres application_name=standby",
            self.port
        ));
        succeed(copy.arg("-D").arg(standby.data()));
        standby.restart().await;
        standby
    }

    /// Promotes this standby, which may be stopped, to replace `primary`, which is gone. It takes
    /// over its URL, with whatever it has received.
    pub async fn take_over(&mut self, primary: Self) {
        self.stop_immediately();
        self.port = primary.port;
        drop(primary);
        self.restart().await;
        let mut conn = PgConnection::connect(&self.url()).await.expect("the standby answers");
        sqlx::query("SELECT pg_promote()").execute(&mut conn).await.expect("a promotion");
    }

    /// Stops the server like `pg_ctl stop --mode immediate`: what it has not flushed is lost.
    pub fn stop_immediately(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Kills the server and all of its processes.
    pub fn kill(&mut self) {
        // Frozen first, so that it starts no new ones.
        self.signal(Signal::STOP);
        let pid = self.server.as_ref().map(Child::id).unwrap_or_default();
        wait_until("the server is frozen", || matches!(state(pid), Some('T') | None));
        let backends = children_of(pid);
        for backend in &backends {
            if let Some(backend) = Pid::from_raw(backend.cast_signed()) {
                // It may have ended meanwhile.
                let _ = kill_process(backend, Signal::KILL);
            }
        }
        self.end(Signal::KILL);
        let is_gone = |backend: &u32| matches!(state(*backend), Some('Z') | None);
        wait_until("the server's processes are gone", || backends.iter().all(is_gone));
    }

    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(mut server) = self.server.take() {
            server.wait().expect("an end");
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            // It may have ended meanwhile.
            let _ = kill_process(Pid::from_child(server), signal);
        }
    }

    fn spawn(&self) -> Child {
        let log = fs::File::create(self.log()).expect("a log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        let addresses = match self.place {
            Place::Here => "127.0.0.1",
            Place::Near | Place::Far(_) => "*",
        };
        command.args(["-p", &self.port.to_string()]);
        command.args(["-c", &format!("listen_addresses={addresses}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("PostgreSQL starts")
    }

    /// A command that runs one of PostgreSQL's programs, as the right user. The program ends with
    /// this process.
    fn command(&self, program: &str) -> Command {
        let mut command = match self.place {
            Place::Here | Place::Near => Command::new("setpriv"),
            Place::Far(host) => TestNetwork::command_on(host, "setpriv"),
        };
        command.args(["--pdeathsig", "QUIT"]);
        if is_root() {
            command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
        }
        command.arg("--").arg(self.programs.join(program)).current_dir(self.folder.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        self.stop_immediately();
    }
}

/// The folder with the programs of the newest PostgreSQL.
fn programs() -> PathBuf {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = versions.map(|entry| entry.path());
    let newest = folders.filter_map(|folder| Some((version(&folder)?, folder))).max();
    let in_path = || {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).find(|folder| folder.join("initdb").is_file())
    };
    newest
        .map(|(_, folder)| folder.join("bin"))
        .filter(|folder| folder.join("initdb").is_file())
        .or_else(in_path)
        .expect("PostgreSQL's programs are installed")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a free port").port()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn succeed(command: &mut Command) {
    let status = command.status().expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
}
