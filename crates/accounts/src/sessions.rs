//! From an access token to whom and what it stands for.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicI64},
};

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use stoa_base::{Actor, DeviceKey};
use stoa_storage::{
    log::{
        Append, AppendError, AuditAction, AuditRow, Guard, SessionEndRow, Stream, TokenRemovalRow,
    },
    repo::{
        self,
        tokens::{SpentRow, TokenRow},
    },
};

use crate::{Accounts, Failure, failure::fails_with_failure, new_session::session_of, secrets};

/// What an access token stands for.
#[derive(Debug)]
pub struct Session {
    /// The ID of the session, which stays the same when its tokens are refreshed. It is not secret.
    pub id: String,
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// For which device.
    pub device_id: OwnedDeviceId,
    /// Tells the device from earlier ones of its user with the same ID; zero for one that was
    /// made before devices were told apart.
    pub(crate) device_generation: i64,
    /// The hash of the access token.
    pub(crate) token_hash: String,
    /// Whether the user may use the admin API.
    pub is_admin: bool,
    /// When the access token expires, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// When the session ends, however often it is refreshed.
    pub(crate) ends_ms: Option<i64>,
    /// When this node last noted that the device was seen.
    pub(crate) seen_ms: AtomicI64,
}

impl Session {
    pub(crate) fn new(row: TokenRow) -> Self {
        Self {
            id: row.session_id,
            user_id: row.user_id,
            device_id: row.device_id,
            device_generation: row.device_generation,
            token_hash: row.token_hash,
            is_admin: row.admin,
            expires_ms: row.expires_ms,
            ends_ms: row.session_expires_ms,
            seen_ms: AtomicI64::new(0),
        }
    }

    /// The user, acting from this device and `address`.
    pub fn actor(&self, address: Option<IpAddr>) -> Actor {
        Actor {
            user_id: self.user_id.clone(),
            device_id: Some(self.device_id.clone()),
            session_id: Some(self.id.clone()),
            address,
        }
    }

    /// The device, as no other ever was or will be named.
    pub fn device_key(&self) -> DeviceKey {
        DeviceKey::new(&self.user_id, &self.device_id, self.device_generation)
    }

    /// What makes an append fail if the session has ended: to be put into every append that is made
    /// for a session from [`Accounts::session_cached`].
    ///
    /// A token that was refreshed meanwhile does not make it fail. So a node that has not heard yet
    /// of the first use of the new token lets the old one send for that moment.
    pub fn guard(&self) -> Guard {
        Guard::Session(self.id.clone())
    }

    fn has_ended(&self, now_ms: i64) -> bool {
        self.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms)
    }

    fn is_expired(&self, now_ms: i64) -> bool {
        self.has_ended(now_ms) || self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

/// Why an access token is refused.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The token is of no session.
    #[error("unknown access token")]
    UnknownToken {
        /// Whether the device is still there: the client keeps what it has, and gets a new access
        /// token by its refresh token, or logs in again as the same device.
        ///
        /// <https://spec.matrix.org/v1.19/client-server-api/#soft-logout>
        soft_logout: bool,
    },
    /// The server is at fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(SessionError);

impl Accounts {
    /// The session of an access token, if this node has it in memory. It may have ended a moment
    /// ago on another node: only for what is appended with [`Session::guard`].
    pub fn session_cached(&self, token: &str) -> Option<Arc<Session>> {
        let session = self.sessions.get(&secrets::hash(token))?;
        (!session.is_expired(self.clock.now_ms())).then_some(session)
    }

    /// The session of an access token, as of a moment after the call.
    #[tracing::instrument(name = "find_session", level = "debug", skip_all)]
    pub async fn session(&self, token: &str) -> Result<Arc<Session>, SessionError> {
        let token_hash = secrets::hash(token);
        let session = if self.sessions.get(&token_hash).is_some() {
            self.freshness.current().await?;
            self.sessions.get(&token_hash)
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

    /// Refuses a session that was found some time ago and has ended since, as far as this node has
    /// applied the log. One whose token was refreshed meanwhile goes on. Where it is in memory,
    /// nothing is read.
    pub async fn check_goes_on(&self, session: &Session) -> Result<(), SessionError> {
        if session.has_ended(self.clock.now_ms()) {
            return Err(SessionError::UnknownToken { soft_logout: false });
        }
        if self.sessions.get(&session.token_hash).is_some() {
            return Ok(());
        }
        let mut conn = self.store.read().await?;
        match repo::tokens::session_span(&mut conn, &session.id).await? {
            Some(span) if span.ended_ms.is_none() => Ok(()),
            ended => Err(SessionError::UnknownToken { soft_logout: ended.is_some() }),
        }
    }

    /// Whether the device of a session is still there, although the token that named the session is
    /// good no more, and was not logged in with again.
    pub(crate) async fn device_is_there(&self, session_id: Option<&str>) -> Result<bool, Failure> {
        let Some(session_id) = session_id else { return Ok(false) };
        let mut conn = self.store.read().await?;
        let found = repo::tokens::session_span(&mut conn, session_id).await?;
        let now_ms = self.clock.now_ms();
        Ok(found.is_some_and(|found| found.expires_ms.is_none_or(|ends_ms| ends_ms > now_ms)))
    }

    /// Reads a session from the database. The first use of a token that came from refreshing
    /// another one ends that other one.
    async fn load_session(&self, token_hash: &str) -> Result<Option<Arc<Session>>, Failure> {
        metrics::counter!("stoa_sessions_read_total").increment(1);
        let ticket = self.sessions.ticket();
        let mut found =
            repo::tokens::by_access_hash(&mut self.store.read().await?, token_hash).await?;
        let Some(row) = found.take() else { return Ok(None) };
        let parent_hash = row.parent_hash.clone();
        let session = Arc::new(Session::new(row));
        if session.is_expired(self.clock.now_ms()) {
            return Ok(Some(session));
        }
        let Some(parent_hash) = parent_hash else {
            self.sessions.insert(&ticket, &session);
            return Ok(Some(session));
        };
        let mut append = Append::new();
        end_refreshed_token(&mut append, &session.user_id, parent_hash, token_hash);
        self.writer.append(append).await?;
        // Another token that was refreshed from the same one may have been used first.
        let is_there =
            repo::tokens::by_access_hash(&mut self.store.read().await?, token_hash).await?;
        Ok(is_there.map(|_| session))
    }

    /// Ends a session whose tokens somebody has copied: a refresh token was presented that had been
    /// replaced by another one, which was used. The server cannot tell which of the two is the user.
    /// The device stays, so that they can log in with it again.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9700.html#section-4.14.2>
    pub(crate) async fn end_copied_session(
        &self,
        session: SpentRow,
        address: Option<IpAddr>,
    ) -> Result<(), Failure> {
        let SpentRow { session_id, user_id, device_id, .. } = session;
        tracing::warn!(user = %user_id, ?address, "a refresh token was used again: session ended");
        metrics::counter!("stoa_refresh_tokens_reused_total").increment(1);
        let now_ms = self.clock.now_ms();
        let address = address.map(|address| address.to_string());
        let row = AuditRow::unattributed(now_ms, AuditAction::SessionEnded, address, &*user_id);
        let mut append = Append::new();
        append.guards.push(Guard::Session(session_id.clone()));
        append.touched.add(Stream::Sessions, &*user_id);
        append.audit.push(
            row.with("reason", "refresh_token_reused")
                .with("session", session_id.as_str())
                .with("device", device_id),
        );
        let user_id = user_id.to_string();
        append.session_ends.push(SessionEndRow { user_id, session_id, ended_ms: now_ms });
        match self.writer.append(append).await {
            // It may have ended meanwhile.
            Ok(_) | Err(AppendError::SessionEnded) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Ends the token that `successor` was refreshed from, now that `successor` is used.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens>
pub(crate) fn end_refreshed_token(
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

/// Makes an append fail if the session through which `actor` acts has ended.
pub(crate) fn guard_actor(append: &mut Append, actor: &Actor) {
    append.guards.extend(actor.session_id.clone().map(Guard::Session));
}
