//! How a command of the program reaches the server that runs: a Unix socket in the data folder.
//!
//! A connection carries one question and one answer, each a line of JSON. Whoever may open the
//! socket may do anything, so only the user who runs the server may.

mod client;
mod jobs;
mod server;

use std::path::{Path, PathBuf};

use ruma::{OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use stoa_accounts::{NewUser, RegisterError, Registrar};
use stoa_base::Actor;

pub use self::{
    client::{AskError, ask},
    jobs::{JobView, JobsCommand},
    server::ControlSocket,
};
use crate::{
    app::AppState,
    audit::{self, Report},
};

/// What the server is asked to do.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Make an account.
    CreateUser {
        /// The localpart of the user ID.
        username: String,
        /// The password.
        password: String,
        /// Whether the user is an admin of the server.
        admin: bool,
    },
    /// Check the audit log.
    VerifyAudit {
        /// A line of the server's log with a head that the chain must contain.
        head: Option<String>,
    },
    /// See to jobs.
    Jobs(JobsCommand),
    /// Say whether a server runs.
    Ping,
}

/// What the server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The account with this user ID was made.
    Created(String),
    /// The audit log was checked.
    Audit(Report),
    /// These are the jobs that were asked about.
    Jobs(Vec<JobView>),
    /// It runs.
    Running,
    /// It could not be done, for this reason.
    Failed(String),
}

impl Command {
    /// Does what is asked.
    pub async fn run(self, state: &AppState) -> Reply {
        let server_name = &state.config.server_name;
        match self {
            Self::CreateUser { username, password, admin } => {
                let user = NewUser {
                    username: &username,
                    password: Some(&password),
                    admin,
                    display_name: None,
                };
                match create_user(&state.accounts.registrar, server_name, user).await {
                    Ok(user_id) => Reply::Created(user_id.to_string()),
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Self::VerifyAudit { head } => {
                match audit::verify(&state.store, server_name, head.as_deref()).await {
                    Ok(report) => Reply::Audit(report),
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Self::Jobs(command) => command.run(&state.jobs).await,
            Self::Ping => Reply::Running,
        }
    }
}

/// Whoever may do this is logged in at the machine and not here: the account makes itself.
async fn create_user(
    registrar: &Registrar,
    server_name: &ServerName,
    user: NewUser<'_>,
) -> Result<OwnedUserId, RegisterError> {
    let itself = UserId::parse(format!("@{}:{server_name}", user.username.to_lowercase()));
    let itself = itself.map_err(|_| RegisterError::InvalidUsername("not a valid user name"))?;
    registrar.create_user(&Actor::user(&itself), user).await
}

/// Where the socket is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("stoa.sock")
}
