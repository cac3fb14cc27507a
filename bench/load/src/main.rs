//! Puts load on a Matrix homeserver and measures it.
//!
//! It speaks only the public client-server API over plain HTTP, so that it measures any homeserver
//! alike. One JSON object per scenario goes to standard output, and what is going on to standard
//! error. `bench/run` starts the servers, runs this program and makes a table of what it says.

mod api;
mod connection;
mod drive;
mod figures;
mod processes;
mod scenario;
mod setup;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    connection::{Failure, Server},
    processes::Processes,
    scenario::{Scale, Scenario},
    setup::Bench,
};

/// Puts load on a Matrix homeserver and measures it.
#[derive(Parser)]
struct Arguments {
    /// Where the server's client-server API is reached, as `host:port` of plain HTTP.
    #[arg(long)]
    server: String,
    /// The secret with which accounts are registered at `/_synapse/admin/v1/register`.
    #[arg(long)]
    secret: String,
    /// The server's process, whose memory and CPU time are measured with its descendants'.
    #[arg(long)]
    server_pid: Option<u32>,
    /// The same for the database's, which are told apart.
    #[arg(long)]
    database_pid: Option<u32>,
    /// How often each scenario is measured. All are run once, then all again, so that a noisy
    /// spell does not hit one of them alone.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Everything small and short: shows that it works, and measures nothing.
    #[arg(long)]
    quick: bool,
    /// The scenarios to run.
    #[arg(required = true)]
    scenarios: Vec<Scenario>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread, so that the load takes no more of the machine than it must.
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

/// Runs the scenarios and prints what they find. False where a figure is not to be trusted.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let server = Server::new(&arguments.server, Duration::from_mins(1));
    let processes = Processes { server: arguments.server_pid, database: arguments.database_pid };
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let bench = Bench::new(server, &arguments.secret, processes, scale);
    let mut sound = true;
    for run in 1..=arguments.runs {
        for scenario in &arguments.scenarios {
            if !scenario.is_in_run(run, arguments.runs) {
                continue;
            }
            eprintln!("{scenario} (run {run} of {})", arguments.runs);
            let report = scenario.run(&bench).await?;
            sound &= report.problems.is_empty();
            println!("{}", report.to_json(&scenario.to_string()));
        }
    }
    Ok(sound)
}
