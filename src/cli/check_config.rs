use std::io::Write;

use super::{CliError, ConfigArgs};

/// Loads the configuration and shows what most often turns out to be another one than was meant.
pub(super) fn run(args: &ConfigArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = args.load()?;
    let heading = match args.file() {
        Some(file) => format!("The configuration in {} is right.", file.display()),
        None => "There is no configuration file, and what holds without one is right.".to_owned(),
    };
    let addresses: Vec<_> = config.listen.client.iter().map(ToString::to_string).collect();
    writeln!(out, "{heading}")?;
    writeln!(out, "  server name  {}", config.server_name)?;
    writeln!(out, "  data folder  {}", config.data_dir.display())?;
    writeln!(out, "  database     {}", config.database_url())?;
    writeln!(out, "  clients      {}", addresses.join(", "))?;
    Ok(())
}
