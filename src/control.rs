//! How the program's commands reach the running server: a Unix socket in the data folder.
//!
//! A connection carries one request and one reply, each a line of JSON. Access to the socket allows
//! everything, so only the user who runs the server can open it.

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

/// A request to the running server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Create an account.
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
    /// List or change jobs.
    Jobs(JobsCommand),
    /// Check whether a server is running.
    Ping,
}

/// The server's reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The account with this user ID was created.
    Created(String),
    /// The audit log was checked.
    Audit(Report),
    /// The requested jobs.
    Jobs(Vec<JobView>),
    /// A server is running.
    Running,
    /// The request failed, for this reason.
    Failed(String),
}

impl Command {
    /// Carries out a request.
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

/// The admin is logged in to the machine and not to Stoa, so the new account is recorded as its own
/// actor.
async fn create_user(
    registrar: &Registrar,
    server_name: &ServerName,
    user: NewUser<'_>,
) -> Result<OwnedUserId, RegisterError> {
    let itself = UserId::parse(format!("@{}:{server_name}", user.username.to_lowercase()));
    let itself = itself.map_err(|_| RegisterError::InvalidUsername("not a valid user name"))?;
    registrar.create_user(&Actor::user(&itself), user).await
}

/// The path of the socket.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("stoa.sock")
}
