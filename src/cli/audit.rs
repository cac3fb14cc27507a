use std::io::Write;

use stoa::{
    app,
    audit::{self, Report},
    control::{self, Command, Reply},
};
use stoa_config::Config;

use super::{CliError, ConfigArgs, block_on};

/// The commands for the audit log.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Task {
    /// Check that no entry was changed, added or removed
    Verify {
        /// Also check that the chain contains this head: the whole line from the server's log
        #[arg(long, value_name = "LINE")]
        head: Option<String>,
    },
}

/// Checks the audit log, through the server if one is running.
pub(super) fn run(
    config_args: &ConfigArgs,
    task: Task,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let config = config_args.load()?;
    let Task::Verify { head } = task;
    if head.as_deref().is_some_and(|line| !audit::holds_head(line)) {
        return Err(CliError::NoHead);
    }
    let report = block_on(verify(config, head))?;
    writeln!(out, "Entries checked: {}\nLinks checked: {}", report.entries, report.links)?;
    if let Some((pos, link)) = &report.head {
        writeln!(out, "Head: {link} at position {pos}")?;
    }
    match report.fault {
        None => Ok(()),
        Some(fault) => Err(CliError::Refused(format!("the check failed: {fault}"))),
    }
}

async fn verify(config: Config, head: Option<String>) -> Result<Report, CliError> {
    let command = Command::VerifyAudit { head: head.clone() };
    match control::ask(&config.data_dir, &command).await? {
        Some(Reply::Audit(report)) => return Ok(report),
        Some(Reply::Failed(reason)) => return Err(CliError::Refused(reason)),
        Some(_) => return Err(CliError::UnexpectedReply),
        None => {}
    }
    let (_folder, store) = app::open_database(&config).await?;
    if !store.is_migrated().await.map_err(app::StartError::from)? {
        return Err(CliError::NotMigrated);
    }
    let report = audit::verify(&store, &config.server_name, head.as_deref()).await;
    store.close().await;
    Ok(report.map_err(app::StartError::from)?)
}
