//! A private PostgreSQL: a fresh cluster in a temporary folder, on a free loopback port.
//!
//! It flushes like a production server, because the tested promises depend on it.

use std::{
    env, fs,
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    error::{Error, Result},
    process::{Group, Runner},
};

/// Tells tests the URL of a PostgreSQL in which they may create databases as its superuser.
pub(crate) const URL_VARIABLE: &str = "STOA_TEST_POSTGRES";

/// Tells tests to fail if there is no PostgreSQL, instead of skipping.
pub(crate) const REQUIRE_VARIABLE: &str = "STOA_TEST_REQUIRE_POSTGRES";

/// Tests run side by side, and each has several pools of connections.
const MAX_CONNECTIONS: &str = "400";

/// How often to look for another port, if somebody took the one that was free a moment ago.
const ATTEMPTS: usize = 3;

/// Where PostgreSQL's programs are, and who is to run them.
pub(crate) struct Programs {
    pub(crate) folder: PathBuf,
    /// PostgreSQL refuses to run as root, so that root becomes this user.
    pub(crate) user: Option<&'static str>,
}

pub(crate) struct Cluster {
    // Dropped in this order: first the server ends, then its folder goes.
    server: Group,
    folder: Folder,
    programs: Programs,
    port: u16,
}

impl Cluster {
    pub(crate) fn start(runner: &Runner, programs: Programs) -> Result<Self> {
        let folder = Folder::create(runner, programs.user)?;
        let data = folder.path.join("data");
        let mut initdb = programs.command("initdb", &folder.path);
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "--no-sync"]);
        initdb.args(["--encoding=UTF8", "--locale=C"]);
        runner.output_of(initdb)?;

        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let mut server = start_server(&programs, &folder.path, &data, port)?;
            if wait_until_ready(runner, &programs, &folder.path, port, &mut server)? {
                return Ok(Self { server, folder, programs, port });
            }
            failure = fs::read_to_string(folder.path.join("log")).unwrap_or_default();
        }
        Err(Error::Postgres(failure))
    }

    /// The URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn create_database(&self, runner: &Runner, name: &str) -> Result<String> {
        let mut createdb = self.programs.command("createdb", &self.folder.path);
        createdb.args(["--host=127.0.0.1", "--username=postgres", "--port"]);
        createdb.arg(self.port.to_string()).arg(name);
        runner.output_of(createdb)?;
        Ok(self.url(name))
    }

    /// Stops the server at once, because its data is not needed.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.end(Signal::QUIT);
    }
}

impl Programs {
    fn command(&self, program: &str, folder: &Path) -> Command {
        let program = self.folder.join(program);
        // A last resort if this program is killed: the kernel then signals the server, which ends
        // too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(user) = self.user {
            command.args(["--reuid", user, "--regid", user, "--init-groups"]);
        }
        command.arg("--").arg(program);
        // They want a folder they can read, which the checkout need not be for another user.
        command.current_dir(folder);
        command
    }
}

fn start_server(programs: &Programs, folder: &Path, data: &Path, port: u16) -> Result<Group> {
    let log = folder.join("log");
    let output = fs::File::create(&log).map_err(Error::at(&log))?;
    let errors = output.try_clone().map_err(Error::at(&log))?;
    let mut command = programs.command("postgres", folder);
    command.arg("-D").arg(data).arg("-k").arg(folder).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=on",
        "synchronous_commit=on",
        &format!("max_connections={MAX_CONNECTIONS}"),
    ] {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    Group::start(&mut command)
}

/// Whether the server came up; if not, it has ended.
fn wait_until_ready(
    runner: &Runner,
    programs: &Programs,
    folder: &Path,
    port: u16,
    server: &mut Group,
) -> Result<bool> {
    while server.status()?.is_none() {
        let mut probe = programs.command("pg_isready", folder);
        probe.args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()]);
        if runner.run(probe)?.status.success() {
            // Somebody else's server may have answered, on a port that ours did not get.
            return Ok(server.status()?.is_none());
        }
        runner.pause()?;
    }
    Ok(false)
}

fn free_port() -> Result<u16> {
    let address = (Ipv4Addr::LOCALHOST, 0);
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::Postgres(error.to_string()))
}

/// A temporary folder that goes when it is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create(runner: &Runner, user: Option<&str>) -> Result<Self> {
        // Unlike `/tmp`, this is a disk everywhere, and a flush to memory would prove nothing.
        let parent = env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let path = create_unused(&parent)?;
        let folder = Self { path };
        let permissions = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&folder.path, permissions).map_err(Error::at(&folder.path))?;
        if let Some(user) = user {
            let mut chown = Command::new("chown");
            chown.arg(user).arg(&folder.path);
            runner.output_of(chown)?;
        }
        Ok(folder)
    }
}

/// Makes a folder next to those that an earlier run could not remove.
fn create_unused(parent: &Path) -> Result<PathBuf> {
    let mut attempt = 0;
    loop {
        let path = parent.join(format!("stoa-postgres-{}-{attempt}", process::id()));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
            created => return created.map(|()| path.clone()).map_err(Error::at(path)),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} stays behind: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_is_private_and_goes() {
        let runner = Runner::new().unwrap();
        let folder = Folder::create(&runner, None).unwrap();
        let other = Folder::create(&runner, None).unwrap();
        let path = folder.path.clone();
        assert_ne!(path, other.path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
