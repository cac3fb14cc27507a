//! From an access token to whom and what it stands for.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, atomic::AtomicI64},
};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{Append, Guard, Stream, TokenRemovalRow},
    repo,
};

use crate::{Accounts, Failure, failure::fails_with_failure, secrets};

/// What an access token stands for.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// For which device.
    pub device_id: OwnedDeviceId,
    /// Tells the device from earlier ones of its user with the same ID; zero for one that was
    /// made before devices were told apart.
    pub(crate) device_generation: i64,
    /// The hash of the access token.
    pub token_hash: String,
    /// Whether the user may use the admin API.
    pub is_admin: bool,
    /// When the access token expires, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// When this node last noted that the device was seen.
    pub(crate) seen_ms: AtomicI64,
}

impl Session {
    pub(crate) fn new(user_id: OwnedUserId, device_id: OwnedDeviceId, token_hash: String) -> Self {
        Self {
            user_id,
            device_id,
            device_generation: 0,
            token_hash,
            is_admin: false,
            expires_ms: None,
            seen_ms: AtomicI64::new(0),
        }
    }

    /// The user, acting from this device and `address`.
    pub fn actor(&self, address: Option<IpAddr>) -> Actor {
        Actor { user_id: self.user_id.clone(), device_id: Some(self.device_id.clone()), address }
    }

    /// What the device is called where what it did is kept, such as its transactions: its user had
    /// no other that was called so, and will have none, though one may have the same ID.
    pub fn device_key(&self) -> Cow<'_, DeviceId> {
        match self.device_generation {
            0 => Cow::Borrowed(&*self.device_id),
            // No device ID holds a control character.
            generation => Cow::Owned(format!("{}\n{generation}", self.device_id).into()),
        }
    }

    /// What makes an append fail if the session has ended: to be put into every append that is made
    /// for a session from [`Accounts::session_cached`].
    pub fn guard(&self) -> Guard {
        Guard::Session(self.token_hash.clone())
    }

    fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

/// Why an access token is refused.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The token is of no session.
    #[error("unknown access token")]
    UnknownToken {
        /// Whether the device is still there, and its refresh token gives a new access token.
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
    pub async fn session(&self, token: &str) -> Result<Arc<Session>, SessionError> {
        let token_hash = secrets::hash(token);
        let session = if self.sessions.get(&token_hash).is_some() {
            self.freshness.current().await?;
            self.sessions.get(&token_hash)
        } else {
            None
        };
        let session = match session {
            Some(session) => session,
            None => self
                .load_session(&token_hash)
                .await?
                .ok_or(SessionError::UnknownToken { soft_logout: false })?,
        };
        if session.is_expired(self.clock.now_ms()) {
            return Err(SessionError::UnknownToken { soft_logout: true });
        }
        Ok(session)
    }

    /// Reads a session from the database. The first use of a token that came from refreshing
    /// another one ends that other one.
    async fn load_session(&self, token_hash: &str) -> Result<Option<Arc<Session>>, Failure> {
        metrics::counter!("stoa_sessions_read_total").increment(1);
        let ticket = self.sessions.ticket();
        let mut found =
            repo::tokens::by_access_hash(&mut self.store.read().await?, token_hash).await?;
        let Some(row) = found.take() else { return Ok(None) };
        let session = Arc::new(Session {
            is_admin: row.admin,
            expires_ms: row.expires_ms,
            device_generation: row.device_generation,
            ..Session::new(row.user_id, row.device_id, row.token_hash)
        });
        if session.is_expired(self.clock.now_ms()) {
            return Ok(Some(session));
        }
        let Some(parent_hash) = row.parent_hash else {
            self.sessions.insert(&ticket, &session);
            return Ok(Some(session));
        };
        self.end_refreshed_token(&session.user_id, parent_hash, token_hash).await?;
        // Another token that was refreshed from the same one may have been used first.
        let is_there =
            repo::tokens::by_access_hash(&mut self.store.read().await?, token_hash).await?;
        Ok(is_there.map(|_| session))
    }

    /// Ends the token that `successor` was refreshed from, now that `successor` is used.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens>
    pub(crate) async fn end_refreshed_token(
        &self,
        user_id: &ruma::UserId,
        token_hash: String,
        successor: &str,
    ) -> Result<(), Failure> {
        let mut append = Append::new();
        append.touched.add(Stream::Sessions, user_id);
        append
            .token_removals
            .push(TokenRemovalRow { token_hash, successor: Some(successor.to_owned()) });
        self.writer.append(append).await?;
        Ok(())
    }
}
