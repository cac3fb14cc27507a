//! The command line: the program's commands, and where its configuration comes from.

mod audit;
mod check_config;
mod create_user;
mod generate_config;
mod jobs;
mod migrate;
mod serve;
mod version;

use std::{
    env, io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use stoa::{
    app::{App, Environment, StartError},
    control::{self, AskError, Reply},
    logging::LoggingError,
    metrics::MetricsError,
};
use stoa_appservices::RegistrationErrors;
use stoa_config::{Config, ConfigErrors};
use stoa_http::server::BindError;

/// A Matrix homeserver
#[derive(Debug, Parser)]
#[command(name = "stoa", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    config: ConfigArgs,

    /// Without one, the server is run
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Create an account
    CreateUser(create_user::Args),
    /// Check the audit log
    #[command(subcommand)]
    Audit(audit::Task),
    /// List jobs, show, cancel or restart one
    #[command(subcommand)]
    Jobs(jobs::Args),
    /// Bring the database up to date (the server also does so when it starts)
    Migrate,
    /// Check the configuration as the server reads it, and report all errors
    CheckConfig,
    /// Print a configuration file with every setting, its default and a comment
    GenerateConfig,
    /// Print the version of this program
    Version,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Registrations(#[from] RegistrationErrors),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot start a runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] io::Error),
    #[error("an essential part of the server has failed (see its log); restart the server")]
    Broken,
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("cannot read the password: {0}")]
    Password(#[source] io::Error),
    #[error("the two passwords differ")]
    PasswordsDiffer,
    #[error("the database is not up to date: start the server once, or run `stoa migrate`")]
    NotMigrated,
    #[error("`--head` needs a whole line of the server's log that contains `stoa-audit-head/1`")]
    NoHead,
    #[error("the running server gave an unexpected answer; perhaps it has another version")]
    UnexpectedReply,
    #[error("{0}")]
    Refused(String),
}

/// Runs a command on a runtime with as many threads as the machine has.
fn block_on<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(CliError::Runtime)?.block_on(command)
}

/// Has the server that runs on this data folder carry out a command. If none runs, a server is
/// started for the command; it does not listen and runs no jobs.
async fn execute(config: Config, command: control::Command) -> Result<Reply, CliError> {
    if let Some(reply) = control::ask(&config.data_dir, &command).await? {
        return Ok(reply);
    }
    let mut environment = Environment::default();
    environment.jobs.at_once = 0;
    let app = App::start(config, environment).await?;
    let reply = command.run(app.state()).await;
    app.stop().await;
    Ok(reply)
}

impl Cli {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let out = &mut io::stdout();
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(&self.config, out),
            Command::CreateUser(args) => create_user::run(&self.config, args, out),
            Command::Audit(task) => audit::run(&self.config, task, out),
            Command::Jobs(args) => jobs::run(&self.config, &args, out),
            Command::Migrate => migrate::run(&self.config, out),
            Command::CheckConfig => check_config::run(&self.config, out),
            Command::GenerateConfig => generate_config::run(out),
            Command::Version => version::run(out),
        }
    }
}

/// The location of the configuration.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file [default: stoa.toml, if there is one]
    #[arg(
        short,
        long,
        value_name = "PATH",
        env = "STOA_CONFIG",
        hide_env_values = true,
        global = true
    )]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that is read by default.
    const DEFAULT_FILE: &str = "stoa.toml";

    /// The file to read: the given one, or the default one if it exists.
    fn file(&self) -> Option<&Path> {
        let default = Path::new(Self::DEFAULT_FILE);
        // A default file that exists but cannot be read is not ignored: reading it gives the error.
        let exists = || default.symlink_metadata().is_ok();
        self.config.as_deref().or_else(|| exists().then_some(default))
    }

    /// The configuration from the file and from the variables of this process.
    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.file(), env::vars_os())
    }
}
