//! Every dependency comes from crates.io, under a license compatible with Apache-2.0, and has no
//! known vulnerability: cargo-deny checks it by `deny.toml`.

use std::{path::Path, process::Command};

use crate::{
    error::Result,
    process::{Finished, Runner},
    report::{Outcome, progress},
    setup,
    workspace::Workspace,
};

pub(super) fn check(runner: &Runner, workspace: &Workspace) -> Result<Outcome> {
    let program = setup::cargo_deny(runner, workspace)?;
    let deny = |arguments: &[&str]| cargo_deny(runner, workspace, &program, arguments);
    let mut findings = Vec::new();
    findings.extend(finding(deny(&["check", "bans", "licenses", "sources"])?));
    // Whether the advisories cannot be had or one of them is met looks the same afterwards.
    if deny(&["fetch", "db"])?.status.success() {
        findings.extend(finding(deny(&["check", "advisories"])?));
    } else {
        progress("the database of advisories cannot be reached, so none were looked for");
    }
    Ok(Outcome::Rule { findings })
}

fn finding(finished: Finished) -> Option<String> {
    (!finished.status.success()).then_some(finished.output)
}

fn cargo_deny(
    runner: &Runner,
    workspace: &Workspace,
    program: &Path,
    arguments: &[&str],
) -> Result<Finished> {
    let mut command = Command::new(program);
    command.current_dir(&workspace.root).args(["--locked", "--color", "never"]).args(arguments);
    runner.run(command)
}
