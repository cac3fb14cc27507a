//! Finds the programs that the tests need in addition to Rust, and installs what is missing.
//!
//! For root it installs them; other users get a message that says exactly what to install.

mod cargo_deny;
mod node;

use std::{env, ffi::OsStr, fs, path::PathBuf, process::Command};

pub(crate) use cargo_deny::cargo_deny;
pub(crate) use node::{Node, node};

use crate::{
    error::{Error, Result},
    postgres::Programs,
    process::Runner,
};

/// The user that Debian's PostgreSQL brings.
const POSTGRES_USER: &str = "postgres";

/// Where Debian puts PostgreSQL, a folder a version.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Sees to it that `cargo fmt` and `cargo clippy` are there.
pub(crate) fn rust_components(runner: &Runner) -> Result<()> {
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if answers(runner, program) {
            continue;
        }
        if !answers(runner, "rustup") {
            return Err(Error::Missing(format!(
                "{component} is missing, and so is rustup to install it with; \
                 install it from where Rust came from"
            )));
        }
        println!("Installing {component} with rustup.");
        let mut command = Command::new("rustup");
        command.args(["component", "add", component]);
        runner.output_of(command)?;
    }
    Ok(())
}

/// Finds PostgreSQL's programs.
pub(crate) fn postgres(runner: &Runner) -> Result<Programs> {
    if let Some(folder) = postgres_folder() {
        return Ok(postgres_programs(folder));
    }
    // Debian would start a server of its own along with the installation.
    let switch = PathBuf::from("/etc/postgresql-common/createcluster.d/no-main-cluster.conf");
    let parent = switch.parent().unwrap_or(&switch);
    if is_root() {
        fs::create_dir_all(parent).map_err(Error::at(parent))?;
        fs::write(&switch, "create_main_cluster = false\n").map_err(Error::at(&switch))?;
    }
    let installed = apt_install(runner, "PostgreSQL", &["postgresql"]);
    if is_root() {
        fs::remove_file(&switch).map_err(Error::at(&switch))?;
    }
    installed?;
    let folder = postgres_folder().ok_or_else(|| {
        Error::Missing(format!("PostgreSQL was installed, but not in {POSTGRES_VERSIONS}"))
    })?;
    Ok(postgres_programs(folder))
}

fn postgres_programs(folder: PathBuf) -> Programs {
    Programs { folder, user: is_root().then_some(POSTGRES_USER) }
}

/// The newest server that Debian's packages or the search path have to offer.
fn postgres_folder() -> Option<PathBuf> {
    let versions = fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, folder)| folder);
    newest.or_else(|| folder_in_path("initdb"))
}

/// Where this project keeps what may be thrown away and brought again.
fn cache_folder() -> Result<PathBuf> {
    let of_user = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    of_user.map(|folder| folder.join("stoa")).ok_or_else(|| {
        Error::Missing("neither XDG_CACHE_HOME nor HOME says where to keep programs".into())
    })
}

/// Sees to it that tests can make a network of their own, which only root can.
pub(crate) fn network_tools(runner: &Runner) -> Result<()> {
    if !is_root() {
        println!("Tests that need a network of their own are skipped: only root can make one.");
        return Ok(());
    }
    if folder_in_path("ip").is_some() {
        return Ok(());
    }
    apt_install(runner, "ip", &["iproute2"])
}

/// The folder of the search path that holds a program.
fn folder_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find(|folder| folder.join(program).is_file())
}

/// Installs Debian packages, or says which.
fn apt_install(runner: &Runner, what: &str, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if folder_in_path("apt-get").is_none() {
        return Err(Error::Missing(format!("{what} is missing; please install it")));
    }
    if !is_root() {
        return Err(Error::Missing(format!(
            "{what} is missing; please install it: sudo apt-get install {list}"
        )));
    }
    println!("Installing {what}: apt-get install {list}");
    let mut update = apt_get();
    update.args(["update", "--quiet"]);
    runner.output_of(update)?;
    let mut install = apt_get();
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
    runner.output_of(install)?;
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program is there and tells its version.
fn answers(runner: &Runner, program: impl AsRef<OsStr>) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    runner.run(command).is_ok_and(|finished| finished.status.success())
}
