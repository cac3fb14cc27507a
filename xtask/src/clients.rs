//! Runs the suites of `tests/clients/`: real client libraries against the built program.

use std::{path::Path, process::Command};

use crate::{
    error::Result,
    postgres::Cluster,
    process::Runner,
    report::{Outcome, Report},
    setup::Node,
    tally::Tally,
    workspace::Workspace,
};

/// Builds the program and runs each suite on both databases.
pub(crate) fn run(
    report: &mut Report,
    runner: &Runner,
    workspace: &Workspace,
    node: &Node,
    cluster: &Cluster,
) -> Result<()> {
    let folder = workspace.root.join("tests/clients");
    report.step("clients: build", || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&workspace.root).args(["build", "--bin", "stoa", "--profile", "ci"]);
        runner.output_of(cargo)?;
        let mut npm = node.npm()?;
        npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        runner.output_of(npm)?;
        Ok(Outcome::Rule { findings: vec![] })
    })?;
    let program = workspace.target.join("ci/stoa");
    report.step("clients on SQLite", || suite(runner, node, &folder, &program, None))?;
    report.step("clients on PostgreSQL", || {
        let url = cluster.create_database(runner, "clients")?;
        suite(runner, node, &folder, &program, Some(&url))
    })
}

fn suite(
    runner: &Runner,
    node: &Node,
    folder: &Path,
    program: &Path,
    database: Option<&str>,
) -> Result<Outcome> {
    let mut command = node.command();
    command.current_dir(folder);
    // The library leaves timers running that would keep node from ending for minutes.
    command.args(["--test", "--test-force-exit", "--test-reporter=spec"]);
    command.env("STOA_TEST_PROGRAM", program);
    if let Some(database) = database {
        command.env("STOA_TEST_DATABASE", database);
    }
    let finished = runner.run(command)?;
    let tally = tally_of(&finished.output).of_program(finished.status.success());
    let output = format!("{}\n`node --test`: {}", finished.output.trim_end(), finished.status);
    Ok(Outcome::Tests { tally, output })
}

/// Reads the closing lines of node's test runner.
///
/// A test that was skipped or cancelled has not shown what it is there for, and so has failed.
fn tally_of(output: &str) -> Tally {
    let count = |word: &str| -> usize {
        let mut numbers = output.lines().filter_map(|line| {
            let (name, number) = line.strip_prefix("ℹ ")?.split_once(' ')?;
            if name == word { number.parse::<usize>().ok() } else { None }
        });
        numbers.next_back().unwrap_or(0)
    };
    let failed = ["fail", "cancelled", "skipped", "todo"].map(count).iter().sum();
    Tally { passed: count("pass"), failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_counted() {
        let output = "✔ logs in (12ms)\nℹ pass the salt\nℹ tests 14\nℹ suites 0\nℹ pass 9\n\
                      ℹ fail 2\nℹ cancelled 1\nℹ skipped 1\nℹ todo 1\nℹ duration_ms 5\n";
        assert_eq!(tally_of(output), Tally { passed: 9, failed: 5 });
    }

    #[test]
    fn a_run_that_broke_off_has_counted_nothing() {
        assert_eq!(tally_of("Error: cannot find module"), Tally::default());
    }
}
