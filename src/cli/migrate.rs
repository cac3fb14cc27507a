use std::io::Write;

use stoa::{
    app::{StartError, open_database},
    control::{self, Command},
};
use stoa_config::Config;

use super::{CliError, ConfigArgs, block_on};

/// Brings the database up to date.
pub(super) fn run(args: &ConfigArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = args.load()?;
    match block_on(migrate(config))? {
        Some(0) => writeln!(out, "The database is up to date.")?,
        Some(1) => writeln!(out, "One migration was applied.")?,
        Some(count) => writeln!(out, "{count} migrations were applied.")?,
        None => writeln!(
            out,
            "The server is running; it brought the database up to date when it started."
        )?,
    }
    Ok(())
}

/// The number of applied migrations. `None` if a server is running, which did that when it started.
async fn migrate(config: Config) -> Result<Option<usize>, CliError> {
    if control::ask(&config.data_dir, &Command::Ping).await?.is_some() {
        return Ok(None);
    }
    let (_folder, store) = open_database(&config).await?;
    let applied = store.prepare(config.server_name.as_str()).await.map_err(StartError::from)?;
    store.close().await;
    Ok(Some(applied))
}
