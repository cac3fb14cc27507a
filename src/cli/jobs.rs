use std::io::Write;

use stoa::control::{Command, JobView, JobsCommand, Reply};

use super::{CliError, ConfigArgs, block_on, execute};

/// The commands for jobs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// List the newest jobs
    List,
    /// Show everything about one job
    Show {
        /// The number of the job
        id: i64,
    },
    /// Cancel a job; a running one ends after its current step
    Cancel {
        /// The number of the job
        id: i64,
    },
    /// Start a failed or cancelled job again
    Restart {
        /// The number of the job
        id: i64,
    },
}

/// Lists, shows, cancels or restarts jobs, through the server if one is running.
pub(super) fn run(
    config_args: &ConfigArgs,
    args: &Args,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let config = config_args.load()?;
    let command = match *args {
        Args::List => JobsCommand::List,
        Args::Show { id } => JobsCommand::Show(id),
        Args::Cancel { id } => JobsCommand::Cancel(id),
        Args::Restart { id } => JobsCommand::Restart(id),
    };
    let jobs = match block_on(execute(config, Command::Jobs(command)))? {
        Reply::Jobs(jobs) => jobs,
        Reply::Failed(reason) => return Err(CliError::Refused(reason)),
        Reply::Audit(_) | Reply::Created(_) | Reply::Running => {
            return Err(CliError::UnexpectedReply);
        }
    };
    match args {
        Args::List if jobs.is_empty() => writeln!(out, "There are no jobs.")?,
        Args::List => jobs.iter().try_for_each(|job| write_line(out, job))?,
        Args::Show { .. } | Args::Cancel { .. } | Args::Restart { .. } => {
            jobs.iter().try_for_each(|job| write_all(out, job))?;
        }
    }
    Ok(())
}

fn write_line(out: &mut impl Write, job: &JobView) -> std::io::Result<()> {
    let JobView { id, kind, state, progress, .. } = job;
    let what = job.error.as_ref().filter(|_| state != "done").unwrap_or(progress);
    writeln!(out, "{id:>6}  {state:<9}  {kind:<20}  {what}")
}

fn write_all(out: &mut impl Write, job: &JobView) -> std::io::Result<()> {
    writeln!(out, "job         {}", job.id)?;
    writeln!(out, "kind        {}", job.kind)?;
    writeln!(out, "parameters  {}", job.parameters)?;
    writeln!(out, "asked by    {}", job.actor)?;
    writeln!(out, "state       {}", job.state)?;
    writeln!(out, "progress    {} of {}: {}", job.done, job.total, job.progress)?;
    writeln!(out, "attempts    {}", job.attempts)?;
    if let Some(finished_ms) = job.finished_ms {
        writeln!(out, "took        {} s", (finished_ms - job.created_ms) / 1_000)?;
    }
    if let Some(error) = &job.error {
        writeln!(out, "error       {error}")?;
    }
    Ok(())
}
