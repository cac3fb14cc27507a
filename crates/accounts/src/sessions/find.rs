//! Finding the session of an access token.

use std::sync::Arc;

use ruma::UserId;
use stoa_storage::{
    log::{Append, Stream, TokenRemovalRow},
    repo::tokens,
};

use super::{Sessions, session::Session, tokens::session_of};
use crate::{
    failure::{Failure, fails_with_failure},
    secrets,
};

/// Why an access token was refused.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The token belongs to no session, or has expired.
    #[error("unknown access token")]
    UnknownToken {
        /// Whether the device still exists. If so, the client keeps its data and uses its refresh
        /// token, or logs in again as the same device.
        ///
        /// <https://spec.matrix.org/v1.19/client-server-api/#soft-logout>
        soft_logout: bool,
    },
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(SessionError);

impl Sessions {
    /// The session of an access token, if this node has it in memory. It may have just ended on
    /// another node, so use it only for appends that carry [`Session::guard`].
    pub fn cached(&self, token: &str) -> Option<Arc<Session>> {
        let session = self.cache.get(&secrets::hash(token))?;
        (!session.is_expired(self.clock.now_ms())).then_some(session)
    }

    /// The session of an access token, no older than this call.
    #[tracing::instrument(name = "find_session", level = "debug", skip_all)]
    pub async fn find(&self, token: &str) -> Result<Arc<Session>, SessionError> {
        let token_hash = secrets::hash(token);
        let session = if self.cache.get(&token_hash).is_some() {
            self.freshness.current().await?;
            self.cache.get(&token_hash)
        } else {
            None
        };
        let session = match session {
            Some(session) => Some(session),
            None => self.load_session(&token_hash).await?,
        };
        let Some(session) = session else {
            let soft_logout = self.device_is_there(session_of(token)).await?;
            return Err(SessionError::UnknownToken { soft_logout });
        };
        let now_ms = self.clock.now_ms();
        if session.is_expired(now_ms) {
            let soft_logout = !session.has_ended(now_ms);
            return Err(SessionError::UnknownToken { soft_logout });
        }
        Ok(session)
    }

    /// Refuses a session that was found earlier and has ended since, as far as this node has
    /// applied the log. A session whose token was refreshed meanwhile is accepted. If the session
    /// is still in memory, nothing is read.
    pub async fn check_goes_on(&self, session: &Session) -> Result<(), SessionError> {
        if session.has_ended(self.clock.now_ms()) {
            return Err(SessionError::UnknownToken { soft_logout: false });
        }
        if self.cache.get(&session.token_hash).is_some() {
            return Ok(());
        }
        let mut conn = self.store.read().await?;
        match tokens::session_span(&mut conn, &session.id).await? {
            Some(span) if span.ended_ms.is_none() => Ok(()),
            ended => Err(SessionError::UnknownToken { soft_logout: ended.is_some() }),
        }
    }

    /// Like [`Sessions::check_goes_on`], but also refuses a session that was ended through another
    /// node a moment ago: for answers made of rows that this node may not have applied yet.
    pub async fn check_goes_on_everywhere(&self, session: &Session) -> Result<(), SessionError> {
        self.freshness.current().await?;
        self.check_goes_on(session).await
    }

    /// For a token that is no longer valid: whether the device of the session that it names still
    /// exists and has not been logged in again.
    pub(super) async fn device_is_there(&self, session_id: Option<&str>) -> Result<bool, Failure> {
        let Some(session_id) = session_id else { return Ok(false) };
        let mut conn = self.store.read().await?;
        let found = tokens::session_span(&mut conn, session_id).await?;
        let now_ms = self.clock.now_ms();
        Ok(found.is_some_and(|found| found.expires_ms.is_none_or(|ends_ms| ends_ms > now_ms)))
    }

    /// Reads a session from the database. The first use of a refreshed token ends the token that it
    /// replaces.
    async fn load_session(&self, token_hash: &str) -> Result<Option<Arc<Session>>, Failure> {
        metrics::counter!("stoa_sessions_read_total").increment(1);
        let ticket = self.cache.ticket();
        let mut found = tokens::by_access_hash(&mut self.store.read().await?, token_hash).await?;
        let Some(row) = found.take() else { return Ok(None) };
        let parent_hash = row.parent_hash.clone();
        let session = Arc::new(Session::new(row));
        if session.is_expired(self.clock.now_ms()) {
            return Ok(Some(session));
        }
        let Some(parent_hash) = parent_hash else {
            self.cache.insert(&ticket, &session);
            return Ok(Some(session));
        };
        let mut append = Append::new();
        end_refreshed_token(&mut append, &session.user_id, parent_hash, token_hash);
        self.writer.append(append).await?;
        // Another token refreshed from the same one may have been used first.
        let is_there = tokens::by_access_hash(&mut self.store.read().await?, token_hash).await?;
        Ok(is_there.map(|_| session))
    }
}

/// Ends the token that `successor` was refreshed from, now that `successor` is used.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens>
pub(super) fn end_refreshed_token(
    append: &mut Append,
    user_id: &UserId,
    token_hash: String,
    successor: &str,
) {
    append.touched.add(Stream::Sessions, user_id);
    append.token_removals.push(TokenRemovalRow {
        user_id: user_id.to_string(),
        token_hash,
        successor: successor.to_owned(),
    });
}
