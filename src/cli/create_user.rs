use std::io::{self, IsTerminal as _, Write};

use stoa::control::{Command, Reply};
use stoa_base::Random;

use super::{CliError, ConfigArgs, block_on, execute};

/// The length of a generated password, in characters: about 140 bits.
const GENERATED_LENGTH: usize = 24;

/// The account to create.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The part of the user ID before the colon
    name: String,

    /// Make the user an admin of the server
    #[arg(long)]
    admin: bool,

    /// Read the password from standard input, up to the end of its first line
    #[arg(long)]
    password_stdin: bool,
}

/// Creates an account, through the server if one is running.
pub(super) fn run(
    config_args: &ConfigArgs,
    args: Args,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let config = config_args.load()?;
    let (password, is_generated) = match read_password(args.password_stdin)? {
        password if password.is_empty() => (Random::system().alphanumeric(GENERATED_LENGTH), true),
        password => (password, false),
    };
    let command =
        Command::CreateUser { username: args.name, password: password.clone(), admin: args.admin };
    match block_on(execute(config, command))? {
        Reply::Created(user_id) => {
            writeln!(out, "Created {user_id}{}.", if args.admin { ", an admin" } else { "" })?;
            if is_generated {
                writeln!(out, "The password is {password}")?;
            }
            Ok(())
        }
        Reply::Failed(reason) => Err(CliError::Refused(reason)),
        Reply::Audit(_) | Reply::Jobs(_) | Reply::Running => Err(CliError::UnexpectedReply),
    }
}

/// Asks for a password, twice. If it is empty, or the input is not a terminal, a password is
/// generated.
fn read_password(from_stdin: bool) -> Result<String, CliError> {
    if from_stdin {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(CliError::Password)?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        let missing = || CliError::Refused("standard input contains no password".to_owned());
        return if password.is_empty() { Err(missing()) } else { Ok(password) };
    }
    if !io::stdin().is_terminal() {
        return Ok(String::new());
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map_err(CliError::Password);
    let password = ask("Password (leave it empty to generate one): ")?;
    if !password.is_empty() && ask("Repeat the password: ")? != password {
        return Err(CliError::PasswordsDiffer);
    }
    Ok(password)
}
