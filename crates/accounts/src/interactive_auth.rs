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

use std::{net::IpAddr, time::Duration};

use ruma::{
    UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, UiaaInfo, UserIdentifier},
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde::{Deserialize, Serialize};
use stoa_base::Network;
use stoa_storage::repo::interactive_auth::{self, InteractiveAuthRow};

use crate::{
    Accounts, Failure,
    accounts::before,
    failure::fails_with_failure,
    password_check::PasswordCheck,
    secrets::{self, Secret},
};

/// How many sessions with a completed stage are kept for one user, or for one network where nobody
/// is logged in. The oldest are deleted.
const MAX_SESSIONS: i64 = 100;

/// Sets the MACs of session IDs apart from others under the same secret.
const SIGNED: &str = "interactive authentication";

/// A step that a user may be asked to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// `m.login.dummy`, which always succeeds.
    #[serde(rename = "m.login.dummy")]
    Dummy,
    /// `m.login.password`, by the user whose request it is.
    #[serde(rename = "m.login.password")]
    Password,
}

impl Stage {
    fn auth_type(self) -> AuthType {
        match self {
            Self::Dummy => AuthType::Dummy,
            Self::Password => AuthType::Password,
        }
    }
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
pub enum InteractiveAuth {
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

/// What names a session, and binds it to a request. Without `Debug` of its own parts: the ID is a
/// secret while the session lasts.
pub(crate) struct SessionKey {
    id: String,
    /// When the session was begun, where its ID says so.
    created_ms: Option<i64>,
    /// Depends on the request's body and on the ID, so that a password in the body cannot be
    /// guessed from what the database holds.
    body_hash: String,
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKey").finish_non_exhaustive()
    }
}

impl SessionKey {
    fn new<B: Serialize>(id: String, body: &B) -> Result<Self, Failure> {
        let body = serde_json::to_string(body).map_err(stoa_storage::Error::corrupt)?;
        let body_hash = Secret::derive(&id, &["request", &body]).text("");
        Ok(Self { id, created_ms: None, body_hash })
    }

    pub(crate) fn hash(&self) -> String {
        secrets::hash(&self.id)
    }

    /// From what tokens can be derived that the same request in the same session derives again.
    pub(crate) fn token_seed(&self) -> (&str, &str) {
        (&self.id, &self.body_hash)
    }
}

impl Passed {
    /// The session that was completed, if the client began one.
    pub(crate) fn session(&self) -> Option<&SessionKey> {
        self.session.as_ref()
    }
}

/// A stage that was tried.
enum Tried {
    Completed(Stage),
    Refused(&'static str),
    Nothing,
}

impl Accounts {
    /// Goes on with an authentication as far as the request's `auth` brings it.
    ///
    /// A session that is not known, or that has expired, is answered with a new one.
    pub async fn interactive_auth<B: Serialize>(
        &self,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<InteractiveAuth, InteractiveAuthError> {
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
            None => Some(self.begin_auth_session(request, &completed).await?),
        };
        if has_passed {
            return Ok(InteractiveAuth::Passed(Passed { session: key }));
        }
        Ok(InteractiveAuth::Challenge(challenge(request.flows, &completed, key, error)))
    }

    async fn find_session<B: Serialize>(
        &self,
        id: &str,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<Option<(SessionKey, InteractiveAuthRow)>, InteractiveAuthError> {
        let key = SessionKey::new(id.to_owned(), request.body)?;
        let oldest_ms = self.oldest_interactive_auth(self.clock.now_ms());
        let mut conn = self.store.read().await?;
        let Some(row) = interactive_auth::find(&mut conn, &key.hash(), oldest_ms).await? else {
            return Ok(self.not_stored(key, request, oldest_ms));
        };
        let is_other_body = row.body_hash.as_ref().is_some_and(|hash| *hash != key.body_hash);
        if row.operation != request.operation
            || row.user_id.as_deref() != request.user
            || is_other_body
        {
            return Err(InteractiveAuthError::RequestChanged);
        }
        Ok(Some((key, row)))
    }

    /// The session with this ID, if the ID is one that this deployment gave out and that is not too
    /// old. No stage of it is completed, since it is not stored.
    fn not_stored<B>(
        &self,
        key: SessionKey,
        request: &InteractiveRequest<'_, B>,
        oldest_ms: i64,
    ) -> Option<(SessionKey, InteractiveAuthRow)> {
        let (created, _) = key.id.split_once('.')?;
        let created_ms = created.parse().ok().filter(|ms| *ms >= oldest_ms)?;
        let (signed, _) = key.id.rsplit_once('.')?;
        if !secrets::are_equal(&self.sign_session(signed, request), &key.id) {
            return None;
        }
        let row = InteractiveAuthRow {
            operation: request.operation.to_owned(),
            user_id: request.user.map(ToOwned::to_owned),
            body_hash: None,
            completed: "[]".to_owned(),
            result: None,
        };
        Some((SessionKey { created_ms: Some(created_ms), ..key }, row))
    }

    /// A session's ID: `signed`, and a MAC over it, the operation and the user.
    fn sign_session<B>(&self, signed: &str, request: &InteractiveRequest<'_, B>) -> String {
        let user = request.user.map_or("", UserId::as_str);
        let mac = Secret::derive(&self.secret.0, &[SIGNED, request.operation, user, signed]);
        mac.text(&format!("{signed}."))
    }

    async fn begin_auth_session<B: Serialize>(
        &self,
        request: &InteractiveRequest<'_, B>,
        completed: &[Stage],
    ) -> Result<SessionKey, InteractiveAuthError> {
        let created_ms = self.clock.now_ms();
        let signed = Secret::random(&self.random).text(&format!("{created_ms}."));
        let mut key = SessionKey::new(self.sign_session(&signed, request), request.body)?;
        key.created_ms = Some(created_ms);
        if !completed.is_empty() {
            self.save_stages(&key, request, completed).await?;
        }
        Ok(key)
    }

    async fn save_stages<B>(
        &self,
        key: &SessionKey,
        request: &InteractiveRequest<'_, B>,
        completed: &[Stage],
    ) -> Result<(), InteractiveAuthError> {
        let row = InteractiveAuthRow {
            operation: request.operation.to_owned(),
            user_id: request.user.map(ToOwned::to_owned),
            body_hash: Some(key.body_hash.clone()),
            completed: stages_to_json(completed)?,
            result: None,
        };
        let requester = match (request.user, request.address) {
            (Some(user), _) => user.to_string(),
            (None, Some(address)) => Network::of(address).to_string(),
            (None, None) => String::new(),
        };
        // A session that is stored already keeps its time.
        let created_ms = key.created_ms.unwrap_or_else(|| self.clock.now_ms());
        let mut conn = self.store.write().await?;
        let hash = key.hash();
        if !interactive_auth::complete(&mut conn, &hash, &row, created_ms, &requester).await? {
            return Err(InteractiveAuthError::RequestChanged);
        }
        interactive_auth::trim(&mut conn, &requester, MAX_SESSIONS).await?;
        conn.commit().await?;
        Ok(())
    }

    async fn try_stage<B>(
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
                match self.check_password(user, &data.password, request.address).await? {
                    PasswordCheck::Right(row, counted)
                        if request.user == Some(&row.user_id) && !row.deactivated =>
                    {
                        self.attempt_succeeded(&counted).await?;
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
            _ => Ok(Tried::Refused("This kind of authentication is not asked for.")),
        }
    }

    /// The result that was noted for the same request in the same session.
    pub(crate) async fn interactive_result<B: Serialize>(
        &self,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<Option<(SessionKey, String)>, InteractiveAuthError> {
        let Some(id) = request.auth.and_then(AuthData::session) else { return Ok(None) };
        let found = self.find_session(id, request).await?;
        Ok(found.and_then(|(key, row)| Some((key, row.result?))))
    }

    /// When the oldest session that is still good was begun.
    pub(crate) fn oldest_interactive_auth(&self, now_ms: i64) -> i64 {
        before(now_ms, self.options.interactive_auth_lifetime)
    }
}

fn parse_stages(row: &InteractiveAuthRow) -> Result<Vec<Stage>, Failure> {
    Ok(serde_json::from_str(&row.completed).map_err(stoa_storage::Error::corrupt)?)
}

fn stages_to_json(stages: &[Stage]) -> Result<String, Failure> {
    Ok(serde_json::to_string(stages).map_err(stoa_storage::Error::corrupt)?)
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
