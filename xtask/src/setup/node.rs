//! Node.js, which runs the JavaScript clients.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{answers, apt_install, cache_folder};
use crate::{
    error::{Error, Result},
    process::Runner,
};

/// The oldest major version that the clients under test run on, and the one that is installed.
const VERSION: u32 = 22;

pub(crate) struct Node {
    program: PathBuf,
}

/// Finds Node.js and npm.
///
/// Debian's Node.js may be too old for the clients; then a newer one is installed into the user's
/// cache, where it affects nothing else.
pub(crate) fn node(runner: &Runner) -> Result<Node> {
    if !answers(runner, "npm") {
        apt_install(runner, "npm", &["npm"])?;
    }
    let of_system = PathBuf::from("node");
    if is_new_enough(runner, &of_system) {
        return Ok(Node { program: of_system });
    }
    let folder = cache_folder()?.join(format!("node-{VERSION}"));
    let program = folder.join("node_modules/node/bin/node");
    if !is_new_enough(runner, &program) {
        println!("Installing Node.js {VERSION} into {}.", folder.display());
        fs::create_dir_all(&folder).map_err(Error::at(&folder))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
        npm.arg(format!("node@{VERSION}"));
        runner.output_of(npm)?;
    }
    if is_new_enough(runner, &program) {
        return Ok(Node { program });
    }
    Err(Error::Missing(format!("npm has not brought a Node.js {VERSION} that runs here")))
}

impl Node {
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// npm, run by this very Node.js.
    pub(crate) fn npm(&self) -> Result<Command> {
        let mut command = Command::new("npm");
        if let Some(folder) = self.program.parent().filter(|folder| *folder != Path::new("")) {
            command.env("PATH", path_with(folder)?);
        }
        Ok(command)
    }
}

fn path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
    env::join_paths(folders).map_err(|error| Error::Missing(format!("a search path: {error}")))
}

fn is_new_enough(runner: &Runner, program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    runner
        .output_of(command)
        .is_ok_and(|output| major_version(&output).is_some_and(|major| major >= VERSION))
}

/// The first number in `v22.23.3`.
fn major_version(output: &str) -> Option<u32> {
    output.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(major_version("v22.23.3\n"), Some(22));
        assert_eq!(major_version("v9.0.0"), Some(9));
        assert_eq!(major_version("node: not found"), None);
    }
}
