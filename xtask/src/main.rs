//! The chores of the project, each one command: `cargo xtask COMMAND`.
//!
//! Everything here runs on a fresh Debian machine with Rust and a C compiler. A command stops
//! everything that it started when it ends, fails, or is interrupted.

mod cargo_tests;
mod clients;
mod error;
mod gate;
mod postgres;
mod process;
mod report;
mod rust_source;
mod setup;
mod tally;
mod workspace;

use std::{env, process::ExitCode};

use error::Result;
use postgres::Cluster;
use process::Runner;
use report::Report;
use workspace::Workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  test      everything CI checks: the gate, all tests on SQLite and PostgreSQL, the clients
  gate      fmt, clippy, and the rules of this code base
  clients   the suites of tests/clients/ against the built program
  postgres  a throw-away PostgreSQL that runs until ^C, for `cargo test` beside it
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test(),
        ["gate"] => gate(),
        ["clients"] => clients(),
        ["postgres"] => postgres(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything that a commit has to pass, and ends with the totals.
fn test() -> Result<bool> {
    let runner = Runner::new()?;
    let workspace = Workspace::load(&runner)?;
    let mut report = Report::new();

    setup::rust_components(&runner)?;
    let programs = setup::postgres(&runner)?;
    setup::network_tools(&runner)?;
    let node = setup::node(&runner)?;
    gate::run(&mut report, &runner, &workspace)?;
    let cluster = Cluster::start(&runner, programs)?;
    report.step("tests on SQLite and PostgreSQL", || {
        cargo_tests::run(&runner, &workspace, &cluster)
    })?;
    clients::run(&mut report, &runner, &workspace, &node, &cluster)?;
    cluster.stop();

    Ok(report.finish())
}

fn gate() -> Result<bool> {
    let runner = Runner::new()?;
    let workspace = Workspace::load(&runner)?;
    let mut report = Report::new();
    setup::rust_components(&runner)?;
    gate::run(&mut report, &runner, &workspace)?;
    Ok(report.finish())
}

fn clients() -> Result<bool> {
    let runner = Runner::new()?;
    let workspace = Workspace::load(&runner)?;
    let mut report = Report::new();
    let node = setup::node(&runner)?;
    let cluster = Cluster::start(&runner, setup::postgres(&runner)?)?;
    clients::run(&mut report, &runner, &workspace, &node, &cluster)?;
    cluster.stop();
    Ok(report.finish())
}

/// Keeps a cluster running until it is interrupted, which is how this command ends well.
fn postgres() -> Result<bool> {
    let runner = Runner::new()?;
    let cluster = Cluster::start(&runner, setup::postgres(&runner)?)?;
    println!("export {}={}", postgres::URL_VARIABLE, cluster.url("postgres"));
    println!("Running until ^C.");
    runner.wait_for_interrupt();
    cluster.stop();
    Ok(true)
}
