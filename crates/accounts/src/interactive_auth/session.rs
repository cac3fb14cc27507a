//! The sessions of user-interactive authentication.

use ruma::UserId;
use serde::Serialize;
use stoa_base::Network;
use stoa_storage::repo::interactive_auth::{self, InteractiveAuthRow};

use super::{
    InteractiveAuth, InteractiveAuthError, InteractiveRequest,
    stage::{Stage, stages_to_json},
};
use crate::{
    failure::Failure,
    secrets::{self, Secret},
};

/// How many sessions with a completed stage are kept per user, or per network for requests without
/// an access token. The oldest are deleted.
const MAX_SESSIONS: i64 = 100;

/// Separates the MACs of session IDs from others made with the same secret.
const SIGNED: &str = "interactive authentication";

/// Names a session and binds it to a request. Its `Debug` shows no fields, since the ID is a secret
/// while the session lasts.
pub(crate) struct SessionKey {
    pub(super) id: String,
    /// When the session was begun, if that was read from its ID.
    created_ms: Option<i64>,
    /// Depends on the ID as well as the request's body, so that a password in the body cannot be
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

    /// The seed for tokens: the same request in the same session derives the same tokens.
    pub(crate) fn token_seed(&self) -> (&str, &str) {
        (&self.id, &self.body_hash)
    }
}

impl InteractiveAuth {
    pub(super) async fn find_session<B: Serialize>(
        &self,
        id: &str,
        request: &InteractiveRequest<'_, B>,
    ) -> Result<Option<(SessionKey, InteractiveAuthRow)>, InteractiveAuthError> {
        let key = SessionKey::new(id.to_owned(), request.body)?;
        let oldest_ms = self.oldest_ms();
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

    /// The session with this ID, if this deployment gave out the ID and it has not expired. Since
    /// it is not stored, none of its stages is completed.
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

    /// A session's ID: `signed`, followed by a MAC over it, the operation and the user.
    fn sign_session<B>(&self, signed: &str, request: &InteractiveRequest<'_, B>) -> String {
        let user = request.user.map_or("", UserId::as_str);
        let mac = Secret::derive(&self.secret.0, &[SIGNED, request.operation, user, signed]);
        mac.text(&format!("{signed}."))
    }

    pub(super) async fn begin_session<B: Serialize>(
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

    pub(super) async fn save_stages<B>(
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
        // A session that is already stored keeps its start time.
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
}
