use std::io::Write;

use stoa_appservices::{NamespaceKind, Registration, Registrations, printable};

use super::{CliError, ConfigArgs};

/// Loads the configuration and the files that it names. Prints the settings that most often differ
/// from what was meant.
pub(super) fn run(args: &ConfigArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = args.load()?;
    let registrations =
        Registrations::load(&config.appservices.registrations, &config.server_name)?;
    let heading = match args.file() {
        Some(file) => format!("The configuration in {} is valid.", file.display()),
        None => "There is no configuration file. The defaults and environment variables are valid."
            .to_owned(),
    };
    let addresses: Vec<_> = config.listen.client.iter().map(ToString::to_string).collect();
    writeln!(out, "{heading}")?;
    writeln!(out, "  server name  {}", config.server_name)?;
    writeln!(out, "  data folder  {}", config.data_dir.display())?;
    writeln!(out, "  database     {}", config.database_url())?;
    writeln!(out, "  clients      {}", addresses.join(", "))?;
    for registration in registrations.iter() {
        show(registration, out)?;
    }
    for warning in registrations.warnings() {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

/// Prints an application service and its namespaces.
fn show(registration: &Registration, out: &mut impl Write) -> Result<(), CliError> {
    let url = registration.shown_url();
    let url = url.as_deref().unwrap_or("not called");
    writeln!(out, "  appservice   {}, {url}", printable(&registration.id))?;
    writeln!(out, "    file       {}", registration.file.display())?;
    writeln!(out, "    sender     {}", registration.sender)?;
    for kind in NamespaceKind::ALL {
        let label = kind.to_string();
        for namespace in registration.namespaces.of(kind) {
            let exclusive = if namespace.exclusive { " (exclusive)" } else { "" };
            writeln!(out, "    {label:<9}  {}{exclusive}", printable(namespace.regex()))?;
        }
    }
    Ok(())
}
