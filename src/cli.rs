//! The command line: what can be asked of the program, and where its configuration comes from.

mod check_config;
mod generate_config;
mod version;

use std::{
    env, io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use stoa_config::{Config, ConfigErrors};

/// A Matrix homeserver
#[derive(Debug, Parser)]
#[command(name = "stoa", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    config: ConfigArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration as the server does, and say what is wrong with it
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
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Cli {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let out = &mut io::stdout().lock();
        match self.command {
            Command::CheckConfig => check_config::run(&self.config, out),
            Command::GenerateConfig => generate_config::run(out),
            Command::Version => version::run(out),
        }
    }
}

/// Where the configuration is found.
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
    /// The file that is read where none is named.
    const DEFAULT_FILE: &str = "stoa.toml";

    /// The file to read: the one that was named, or the default one where it exists.
    fn file(&self) -> Option<&Path> {
        let default = Path::new(Self::DEFAULT_FILE);
        // Whatever is there but cannot be read is not passed over: reading it says what is wrong.
        let exists = || default.symlink_metadata().is_ok();
        self.config.as_deref().or_else(|| exists().then_some(default))
    }

    /// The configuration from the file and from the variables of this process.
    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.file(), env::vars_os())
    }
}
