//! User-interactive authentication: before an operation is carried out, the client completes all
//! stages of one of several flows.
//!
//! A session records which stages are completed. Until the first one is, the session consists of
//! its ID alone, which contains its start time and a MAC, so that asking for the stages stores
//! nothing. From the first completed stage on, the session is in the database, and any node can
//! continue it. It is stored under a hash of its ID, so that reading the database is not enough to
//! use it. A session is bound to one operation and one user from the start, and to one request body
//! from the first completed stage on; before that, a client may only be asking for the stages.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

mod session;
mod stage;

use std::{net::IpAddr, sync::Arc, time::Duration};

use ruma::{
    UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, UiaaInfo},
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde::Serialize;
use stoa_base::{Clock, Random};
use stoa_storage::{Conn, Store, repo::interactive_auth};

pub(crate) use self::session::SessionKey;
pub use self::stage::Stage;
use self::stage::{Tried, parse_stages};
use crate::{
    before::before,
    failure::{Failure, fails_with_failure},
    passwords::Passwords,
    secrets::DeploymentSecret,
};

/// Authenticates users again for operations that require it.
#[derive(Debug)]
pub struct InteractiveAuth {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) secret: DeploymentSecret,
    /// How long a session is valid.
    pub(crate) lifetime: Duration,
    pub(crate) passwords: Arc<Passwords>,
}

/// A request for an operation that requires interactive authentication.
#[derive(Debug)]
pub struct InteractiveRequest<'a, B> {
    /// A unique name for the operation.
    pub operation: &'static str,
    /// The user who makes the request, if it carried an access token.
    pub user: Option<&'a UserId>,
    /// The content of the request: path parameters and the body without `auth`.
    pub body: &'a B,
    /// The flows, any one of which suffices.
    pub flows: &'a [&'a [Stage]],
    /// The body's `auth`.
    pub auth: Option<&'a AuthData>,
    /// The address that the request came from.
    pub address: Option<IpAddr>,
}

/// The outcome of interactive authentication.
#[derive(Debug)]
pub enum InteractiveAnswer {
    /// A flow is completed, and the operation may be carried out.
    Passed(Passed),
    /// More stages are needed: the body of the 401 response.
    Challenge(UiaaInfo),
}

/// A completed flow.
#[derive(Debug)]
pub struct Passed {
    session: Option<SessionKey>,
}

/// Why interactive authentication failed.
#[derive(Debug, thiserror::Error)]
pub enum InteractiveAuthError {
    /// The session is for another operation, user or request.
    #[error("the authentication session was begun for a different request")]
    RequestChanged,
    /// Too many wrong passwords were tried.
    #[error("too many failed logins")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(InteractiveAuthError);

impl Passed {
    /// The session that was completed, if the client began one.
    pub(crate) fn session(&self) -> Option<&SessionKey> {
        self.session.as_ref()
    }
}

impl InteractiveAuth {
    /// Tries the stage in the request's `auth`, and says whether a flow is now completed.
    ///
    /// If the session is unknown or has expired, the answer begins a new one.
    pub async fn authenticate<B: Serialize>(
        &self,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<InteractiveAnswer, InteractiveAuthError> {
        let begun = match request.auth.and_then(AuthData::session) {
            Some(id) => self.find_session(id, request).await?,
            None => None,
        };
        let mut completed = match &begun {
            Some((_, row)) => parse_stages(row)?,
            None => Vec::new(),
        };
        let tried = match request.auth {
            // If the session is unknown, so is what the user agreed to.
            Some(auth) if begun.is_some() || auth.session().is_none() => {
                self.try_stage(auth, request).await?
            }
            _ => Tried::Nothing,
        };
        let mut error = None;
        let mut is_news = false;
        match tried {
            Tried::Completed(stage) if !completed.contains(&stage) => {
                completed.push(stage);
                is_news = true;
            }
            Tried::Completed(_) | Tried::Nothing => {}
            Tried::Refused(why) => error = Some(why),
        }

        let has_passed =
            request.flows.iter().any(|flow| flow.iter().all(|stage| completed.contains(stage)));
        let key = match begun {
            Some((key, _)) => {
                if is_news {
                    self.save_stages(&key, request, &completed).await?;
                }
                Some(key)
            }
            None if has_passed => None,
            None => Some(self.begin_session(request, &completed).await?),
        };
        if has_passed {
            return Ok(InteractiveAnswer::Passed(Passed { session: key }));
        }
        Ok(InteractiveAnswer::Challenge(challenge(request.flows, &completed, key, error)))
    }

    /// The result that was stored for the same request in the same session.
    pub(crate) async fn result<B: Serialize>(
        &self,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<Option<(SessionKey, String)>, InteractiveAuthError> {
        let Some(id) = request.auth.and_then(AuthData::session) else { return Ok(None) };
        let found = self.find_session(id, request).await?;
        Ok(found.and_then(|(key, row)| Some((key, row.result?))))
    }

    /// Deletes sessions that have expired.
    pub(crate) async fn prune(&self, conn: &mut Conn) -> stoa_storage::Result<()> {
        interactive_auth::prune(conn, self.oldest_ms()).await.map(drop)
    }

    /// The start time of the oldest session that is still valid.
    fn oldest_ms(&self) -> i64 {
        before(self.clock.now_ms(), self.lifetime)
    }
}

fn challenge(
    flows: &[&[Stage]],
    completed: &[Stage],
    key: Option<SessionKey>,
    error: Option<&str>,
) -> UiaaInfo {
    let auth_types = |stages: &[Stage]| stages.iter().map(|stage| stage.auth_type()).collect();
    let mut info =
        UiaaInfo::new(flows.iter().map(|stages| AuthFlow::new(auth_types(stages))).collect());
    info.completed = auth_types(completed);
    info.session = key.map(|key| key.id);
    info.auth_error =
        error.map(|why| Box::new(StandardErrorBody::new(ErrorKind::Forbidden, why.to_owned())));
    info
}
