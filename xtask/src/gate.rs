//! The gate: the rules that every commit has to keep before its tests are worth running.

mod cycles;
mod dependencies;
mod documents;
mod generated;
mod layers;
mod migrations;
mod portable;
mod sql;
mod unused;

use std::process::Command;

use crate::{
    error::Result,
    process::Runner,
    report::{Outcome, Report},
    workspace::Workspace,
};

/// A rule of this code base; each finding is a sentence that names what breaks it.
type Rule = fn(&Workspace) -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("layers", layers::check),
    ("circles of modules", cycles::check),
    ("unused dependencies", unused::check),
    ("SQL only in storage", sql::check),
    ("migrations", migrations::check),
    ("generated files", generated::check),
    ("documents", documents::check),
    ("nothing of one machine", portable::check),
];

pub(crate) fn run(report: &mut Report, runner: &Runner, workspace: &Workspace) -> Result<()> {
    for (name, rule) in RULES {
        report.step(name, || Ok(Outcome::Rule { findings: rule(workspace) }))?;
    }
    report.step("dependencies", || dependencies::check(runner, workspace))?;
    report.step("fmt", || cargo(runner, workspace, &["fmt", "--all", "--", "--check"]))?;
    for (name, arguments) in [("clippy", CLIPPY), ("clippy of tests", CLIPPY_OF_TESTS)] {
        report.step(name, || cargo(runner, workspace, arguments))?;
    }
    Ok(())
}

// It uses the tests' profile, so that build scripts and macros are compiled only once.
const CLIPPY: &[&str] =
    &["clippy", "--workspace", "--profile", "ci", "--quiet", "--", "-D", "warnings"];

/// Tests may panic, and may read the clock of the machine.
const CLIPPY_OF_TESTS: &[&str] = &[
    "clippy",
    "--workspace",
    "--all-targets",
    "--profile",
    "ci",
    "--quiet",
    "--",
    "-D",
    "warnings",
    "-A",
    "clippy::pedantic",
    "-A",
    "clippy::expect_used",
    "-A",
    "clippy::unwrap_used",
    "-A",
    "clippy::panic",
    "-A",
    "clippy::disallowed_methods",
    "-A",
    "clippy::type_complexity",
    "-A",
    "unfulfilled_lint_expectations",
];

fn cargo(runner: &Runner, workspace: &Workspace, arguments: &[&str]) -> Result<Outcome> {
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root).args(arguments);
    let finished = runner.run(command)?;
    let mut findings = Vec::new();
    if !finished.status.success() {
        findings.push(finished.output);
        findings.push(format!("`cargo {}`: {}", arguments[0], finished.status));
    }
    Ok(Outcome::Rule { findings })
}
