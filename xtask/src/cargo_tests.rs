//! Runs the tests written in Rust, on both databases, and counts them.

use std::process::Command;

use crate::{
    error::Result,
    postgres::{self, Cluster},
    process::Runner,
    report::{Outcome, progress},
    tally::Tally,
    workspace::Workspace,
};

pub(crate) fn run(runner: &Runner, workspace: &Workspace, cluster: &Cluster) -> Result<Outcome> {
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root);
    command.args(["test", "--workspace", "--profile", "ci", "--no-fail-fast"]);
    command.env(postgres::URL_VARIABLE, cluster.url("postgres"));
    command.env(postgres::REQUIRE_VARIABLE, "1");

    let mut counter = Counter::default();
    let finished = runner.follow(command, |line| {
        if let Some(summary) = counter.read(line) {
            progress(&summary);
        }
    })?;
    let tally = counter.total.of_program(finished.status.success());
    let shown = without_successes(&finished.output);
    let output = format!("{shown}\n`cargo test`: {}", finished.status);
    Ok(Outcome::Tests { tally, output })
}

/// Reads what `cargo test` writes, line by line.
#[derive(Default)]
struct Counter {
    /// The test program that is running.
    program: String,
    total: Tally,
}

impl Counter {
    /// Returns a summary when a test program that has any tests has ended.
    fn read(&mut self, line: &str) -> Option<String> {
        if let Some(program) = program_name(line) {
            program.clone_into(&mut self.program);
        }
        let result = line.strip_prefix("test result: ")?;
        let tally =
            Tally { passed: number_of("passed", result), failed: number_of("failed", result) };
        self.total += tally;
        let ignored = number_of("ignored", result);
        let ignored = if ignored > 0 { format!(", {ignored} ignored") } else { String::new() };
        let is_empty = tally == Tally::default() && ignored.is_empty();
        (!is_empty).then(|| format!("{}: {tally}{ignored}", self.program))
    }
}

/// The name in `Running unittests src/lib.rs (target/ci/deps/stoa_base-0123456789abcdef)`, or in
/// `Doc-tests stoa_base`.
fn program_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("Doc-tests ") {
        return Some(line);
    }
    let path = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once('(')?.1;
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    Some(file.rsplit_once('-').map_or(file, |(name, _)| name))
}

/// The number before a word in `ok. 3 passed; 0 failed; 0 ignored`.
fn number_of(word: &str, result: &str) -> usize {
    let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    words
        .windows(2)
        .find_map(|pair| if pair[1] == word { pair[0].parse().ok() } else { None })
        .unwrap_or(0)
}

/// Leaves out what nobody reads when a test has failed: the crates compiled and the tests passed.
fn without_successes(output: &str) -> String {
    let is_success = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        matches!(first, "Compiling" | "Downloading" | "Downloaded")
            || (line.starts_with("test ") && line.ends_with(" ... ok"))
    };
    output.lines().filter(|line| !is_success(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
   Compiling stoa-base v0.1.0
     Running unittests src/lib.rs (/t/ci/deps/stoa_base-0123456789abcdef)
running 2 tests
test a ... ok
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running tests/log.rs (target/ci/deps/log-0123456789abcdef)
test b ... FAILED
test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
     Running unittests src/main.rs (target/ci/deps/stoa-0123456789abcdef)
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests stoa_base
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn all_results_are_added_up() {
        let mut counter = Counter::default();
        let summaries: Vec<_> = OUTPUT.lines().filter_map(|line| counter.read(line)).collect();
        assert_eq!(
            summaries,
            [
                "stoa_base: 1 passed, 0 failed, 1 ignored",
                "log: 7 passed, 2 failed",
                "Doc-tests stoa_base: 1 passed, 0 failed",
            ]
        );
        assert_eq!(counter.total, Tally { passed: 9, failed: 2 });
    }

    #[test]
    fn of_a_failed_run_the_failures_are_shown() {
        let shown = without_successes(OUTPUT);
        assert!(shown.contains("test b ... FAILED"));
        assert!(!shown.contains("Compiling"));
        assert!(!shown.contains("test a"));
    }
}
