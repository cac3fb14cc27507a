//! Puts load on a Matrix homeserver and measures it.
//!
//! It uses only the public client-server API over plain HTTP, so it measures all homeservers alike.
//! It reads the names of scenarios from standard input, one per line, and runs each as it is read,
//! so that several servers can be measured in turn. It writes one JSON object per scenario to
//! standard output, and its progress to standard error. `bench/run` starts the servers, runs this
//! program for each and makes a table of the results.
//!
//! A scenario that needs the server to be restarted prints `{"restart":true}`. The next line of the
//! input is then the ID of the new process, which listens on the same address.

mod api;
mod connection;
mod drive;
mod figures;
mod input;
mod processes;
mod scale;
mod scenario;
mod setup;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum as _};

use crate::{
    connection::{Failure, Server},
    input::next_line,
    processes::Processes,
    scale::Scale,
    scenario::Scenario,
    setup::Bench,
};

/// Puts load on a Matrix homeserver and measures it.
#[derive(Parser)]
struct Arguments {
    /// The address of the server's client-server API, as `host:port` of plain HTTP.
    #[arg(long)]
    server: String,
    /// The secret with which accounts are registered at `/_synapse/admin/v1/register`.
    #[arg(long)]
    secret: String,
    /// The server's process, whose memory and CPU time are measured with its descendants'.
    #[arg(long)]
    server_pid: Option<u32>,
    /// The same for the database's processes, which are reported separately.
    #[arg(long)]
    database_pid: Option<u32>,
    /// Another node of the same deployment, for scenarios with two.
    #[arg(long)]
    other_node: Option<String>,
    /// Everything small and short: shows that it works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread, so that the load takes no more of the machine than necessary.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&arguments)),
        Err(error) => Err(Failure::Unexpected(error.to_string())),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each scenario in the input and prints its results. Returns false if a figure cannot be
/// trusted.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let limit = Duration::from_mins(2);
    let server = Server::new(&arguments.server, limit);
    let other_node = arguments.other_node.as_deref().map(|address| Server::new(address, limit));
    let processes = Processes { server: arguments.server_pid, database: arguments.database_pid };
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let bench = Bench::new(server, other_node, &arguments.secret, processes, scale);
    let mut sound = true;
    while let Some(name) = next_line()? {
        let scenario = Scenario::from_str(&name, false).map_err(Failure::Unexpected)?;
        let report = scenario.run(&bench).await?;
        sound &= report.problems.is_empty();
        println!("{}", report.to_json(&name));
    }
    Ok(sound)
}
