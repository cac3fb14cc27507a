//! Refreshing access tokens.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>

use std::net::IpAddr;

use stoa_storage::{
    log::{Append, AppendError, AuditAction, AuditRow, Guard, SessionEndRow, Stream},
    repo::tokens::{self, SpentRow},
};

use super::{
    Sessions,
    find::end_refreshed_token,
    tokens::{NewTokens, session_of},
};
use crate::{
    failure::{Failure, fails_with_failure},
    secrets,
};

/// Why a token was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no such refresh token, or its successor has been used.
    #[error("unknown refresh token")]
    UnknownToken {
        /// Whether the device still exists, so that the client can log in again with it.
        soft_logout: bool,
    },
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(RefreshError);

impl Sessions {
    /// Issues new tokens for the session that `refresh_token` belongs to.
    ///
    /// The old tokens stay valid until a new one is used, because the client may never receive this
    /// answer and ask again; the tokens that it did not receive are then void. A refresh token that
    /// is presented after its successor was used has been copied, and ends the session. The device
    /// stays: this may be a client that lost the successor, and without its device it would lose
    /// its keys.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn refresh(
        &self,
        refresh_token: &str,
        address: Option<IpAddr>,
    ) -> Result<NewTokens, RefreshError> {
        let refresh_hash = secrets::hash(refresh_token);
        let mut conn = self.store.read().await?;
        let Some(old) = tokens::by_refresh_hash(&mut conn, &refresh_hash).await? else {
            let spent = tokens::by_spent_hash(&mut conn, &refresh_hash).await?;
            drop(conn);
            let named = session_of(refresh_token).map(ToOwned::to_owned);
            let named = spent.as_ref().map(|session| session.session_id.clone()).or(named);
            if let Some(session) = spent.filter(|session| session.ended_ms.is_none()) {
                self.end_copied_session(session, address).await?;
            }
            return Err(self.refused(named.as_deref()).await?);
        };
        drop(conn);
        if old.session_expires_ms.is_some_and(|ends_ms| ends_ms <= self.clock.now_ms()) {
            return Err(RefreshError::UnknownToken { soft_logout: false });
        }

        let mut append = Append::new();
        append.guards.push(Guard::Token(old.token_hash.clone()));
        if let Some(parent_hash) = old.parent_hash {
            end_refreshed_token(&mut append, &old.user_id, parent_hash, &old.token_hash);
        }
        let pair = self.new_tokens(&old.session_id, true, None);
        let parent = Some((&*old.token_hash, old.generation));
        append.tokens.push(self.token_row(&old.user_id, &old.session_id, &pair, parent));
        match self.writer.append(append).await {
            Ok(_) => Ok(pair.into_new_tokens()),
            // Since the lookup, its successor was used or the session ended.
            Err(AppendError::SessionEnded) => Err(self.refused(Some(&old.session_id)).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a session whose tokens were copied: a refresh token was presented again after its
    /// successor was used. The server cannot tell which of the two clients is the user's. The
    /// device stays, so that the user can log in with it again.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9700.html#section-4.14.2>
    async fn end_copied_session(
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
            // The session may have ended meanwhile.
            Ok(_) | Err(AppendError::SessionEnded) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The error for a refresh token that is no longer valid and names this session.
    async fn refused(&self, session_id: Option<&str>) -> Result<RefreshError, Failure> {
        Ok(RefreshError::UnknownToken { soft_logout: self.device_is_there(session_id).await? })
    }
}
