//! New tokens for old.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>

use std::time::Duration;

use stoa_storage::repo::tokens;

use crate::{Accounts, Failure, failure::fails_with_failure, secrets};

/// Tokens that were given out.
#[derive(Clone)]
pub struct NewTokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, where the client asked for one.
    pub refresh_token: Option<String>,
    /// How long the access token is good; none where it does not expire.
    pub expires_in: Option<Duration>,
}

impl std::fmt::Debug for NewTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Why a token is not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no such refresh token, or what it gave has been used.
    #[error("unknown refresh token")]
    UnknownToken,
    /// The server is at fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(RefreshError);

impl Accounts {
    /// New tokens for the device that `refresh_token` is of.
    ///
    /// The old ones stay good until a new one is used: the client may never hear this answer, and
    /// ask again. Then what it did not hear of is void.
    pub async fn refresh(&self, refresh_token: &str) -> Result<NewTokens, RefreshError> {
        let refresh_hash = secrets::hash(refresh_token);
        let found = tokens::by_refresh_hash(&mut self.store.read().await?, &refresh_hash).await?;
        let old = found.ok_or(RefreshError::UnknownToken)?;
        if let Some(parent_hash) = old.parent_hash {
            self.end_refreshed_token(&old.user_id, parent_hash, &old.token_hash).await?;
        }

        let pair = self.new_tokens(true, None);
        let mut conn = self.store.write().await?;
        tokens::delete_unused_successors(&mut conn, &old.token_hash).await?;
        if !tokens::begin_refresh(&mut conn, &old.token_hash, self.clock.now_ms()).await? {
            return Err(RefreshError::UnknownToken);
        }
        let parent_hash = Some(old.token_hash.as_str());
        self.store_tokens(&mut conn, &old.user_id, &old.device_id, &pair, parent_hash).await?;
        conn.commit().await?;
        Ok(pair.into_new_tokens())
    }
}
