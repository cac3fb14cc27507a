//! User-interactive authentication: an operation asks for stages, in one of several flows, before it
//! is carried out.
//!
//! A session says which stages are completed. As long as none is, it consists of its ID alone, which
//! says when it began and carries a MAC, so that asking which stages there are stores nothing. From
//! the first completed stage on it is in the database, where any node can go on with it. It is kept
//! there under a hash of its ID, so that whoever reads the database cannot use it. A session is bound
//! to one operation and one user from the start, and to one request body from the first completed
//! stage on; before that, a client may only be asking which stages there are.
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

/// Authenticates users anew for operations that ask for it.
#[derive(Debug)]
pub struct InteractiveAuth {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) secret: DeploymentSecret,
    /// How long a session is good.
    pub(crate) lifetime: Duration,
    pub(crate) passwords: Arc<Passwords>,
}

/// A request for an operation that asks for authentication.
#[derive(Debug)]
pub struct InteractiveRequest<'a, B> {
    /// A name for the operation, which no other has.
    pub operation: &'static str,
    /// Whose request it is; none where it carried no access token.
    pub user: Option<&'a UserId>,
    /// What is asked for: the path's parameters and the body without `auth`.
    pub body: &'a B,
    /// The flows, each of which is enough.
    pub flows: &'a [&'a [Stage]],
    /// The body's `auth`.
    pub auth: Option<&'a AuthData>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

/// What came of it.
#[derive(Debug)]
pub enum InteractiveAnswer {
    /// A flow is completed: the operation may be carried out.
    Passed(Passed),
    /// There is more to do: the 401 answer.
    Challenge(UiaaInfo),
}

/// A completed flow.
#[derive(Debug)]
pub struct Passed {
    session: Option<SessionKey>,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum InteractiveAuthError {
    /// The session is for another operation, user or request.
    #[error("the request is not the one that the authentication session was begun for")]
    RequestChanged,
    /// The password was tried too often.
    #[error("too many failed logins")]
    TooManyAttempts {
        /// How long it stays so.
        retry_after: Duration,
    },
    /// The server is at fault.
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
    /// Goes on with an authentication as far as the request's `auth` brings it.
    ///
    /// A session that is not known, or that has expired, is answered with a new one.
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
            // With an unknown session it is not known what the user agreed to.
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

    /// The result that was noted for the same request in the same session.
    pub(crate) async fn result<B: Serialize>(
        &self,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<Option<(SessionKey, String)>, InteractiveAuthError> {
        let Some(id) = request.auth.and_then(AuthData::session) else { return Ok(None) };
        let found = self.find_session(id, request).await?;
        Ok(found.and_then(|(key, row)| Some((key, row.result?))))
    }

    /// Deletes the sessions that are too old.
    pub(crate) async fn prune(&self, conn: &mut Conn) -> stoa_storage::Result<()> {
        interactive_auth::prune(conn, self.oldest_ms()).await.map(drop)
    }

    /// When the oldest session that is still good was begun.
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
