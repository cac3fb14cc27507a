//! The stages of user-interactive authentication.

use ruma::api::client::uiaa::{AuthData, AuthType, UserIdentifier};
use serde::{Deserialize, Serialize};
use stoa_storage::repo::interactive_auth::InteractiveAuthRow;

use super::{InteractiveAuth, InteractiveAuthError, InteractiveRequest};
use crate::{failure::Failure, passwords::PasswordCheck};

/// A stage that a flow can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// `m.login.dummy`, which always succeeds.
    #[serde(rename = "m.login.dummy")]
    Dummy,
    /// `m.login.password`, for the user who makes the request.
    #[serde(rename = "m.login.password")]
    Password,
}

impl Stage {
    pub(super) fn auth_type(self) -> AuthType {
        match self {
            Self::Dummy => AuthType::Dummy,
            Self::Password => AuthType::Password,
        }
    }
}

/// The outcome of trying a stage.
pub(super) enum Tried {
    Completed(Stage),
    Refused(&'static str),
    Nothing,
}

impl InteractiveAuth {
    pub(super) async fn try_stage<B>(
        &self,
        auth: &AuthData,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<Tried, InteractiveAuthError> {
        let asked_for = |stage| request.flows.iter().any(|flow| flow.contains(&stage));
        match auth {
            AuthData::FallbackAcknowledgement(_) => Ok(Tried::Nothing),
            AuthData::Dummy(_) if asked_for(Stage::Dummy) => Ok(Tried::Completed(Stage::Dummy)),
            AuthData::Password(data) if asked_for(Stage::Password) => {
                let UserIdentifier::Matrix(identifier) = &data.identifier else {
                    return Ok(Tried::Refused("Log in with your user name."));
                };
                let user = &identifier.user;
                match self.passwords.check(user, &data.password, request.address).await? {
                    PasswordCheck::Right(row, counted)
                        if request.user == Some(&row.user_id) && !row.deactivated =>
                    {
                        self.passwords.attempts.succeeded(&counted).await?;
                        Ok(Tried::Completed(Stage::Password))
                    }
                    PasswordCheck::Right(..) | PasswordCheck::Wrong => {
                        Ok(Tried::Refused("Invalid user name or password."))
                    }
                    PasswordCheck::TooMany { retry_after } => {
                        Err(InteractiveAuthError::TooManyAttempts { retry_after })
                    }
                }
            }
            _ => Ok(Tried::Refused("This authentication type is in none of the flows.")),
        }
    }
}

pub(super) fn parse_stages(row: &InteractiveAuthRow) -> Result<Vec<Stage>, Failure> {
    Ok(serde_json::from_str(&row.completed).map_err(stoa_storage::Error::corrupt)?)
}

pub(super) fn stages_to_json(stages: &[Stage]) -> Result<String, Failure> {
    Ok(serde_json::to_string(stages).map_err(stoa_storage::Error::corrupt)?)
}
