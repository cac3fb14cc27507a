//! The tokens of sessions: how they are made, and what they contain.

use std::time::Duration;

use ruma::UserId;
use stoa_storage::log::TokenRow;

use super::Sessions;
use crate::secrets::{self, Secret};

/// With these prefixes, a leaked token can be found and distinguished from other secrets.
const ACCESS_PREFIX: &str = "stoa_access_";
const REFRESH_PREFIX: &str = "stoa_refresh_";

/// Newly issued tokens.
#[derive(Clone)]
pub struct NewTokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, if the client asked for one.
    pub refresh_token: Option<String>,
    /// How long the access token is valid; `None` if it does not expire.
    pub expires_in: Option<Duration>,
}

impl std::fmt::Debug for NewTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// The tokens of a new session, before they are stored.
pub(crate) struct TokenPair {
    access: String,
    refresh: Option<String>,
    lifetime: Option<Duration>,
}

impl TokenPair {
    pub(crate) fn into_new_tokens(self) -> NewTokens {
        NewTokens {
            access_token: self.access,
            refresh_token: self.refresh,
            expires_in: self.lifetime,
        }
    }
}

/// The ID of the session that a token names. This is not verified: anyone can make up such a token.
pub(super) fn session_of(token: &str) -> Option<&str> {
    let rest = token.strip_prefix(ACCESS_PREFIX).or_else(|| token.strip_prefix(REFRESH_PREFIX))?;
    let (session_id, _) = rest.split_once('.')?;
    let is_id = session_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    is_id.then_some(session_id)
}

impl Sessions {
    /// The ID and tokens of a new session: random, or derived from `seed` so that they can be
    /// derived again.
    pub(crate) fn new_session(
        &self,
        refreshable: bool,
        seed: Option<(&str, &str)>,
    ) -> (String, TokenPair) {
        let session_id = self.new_secret("session", seed).text("");
        let pair = self.new_tokens(&session_id, refreshable, seed);
        (session_id, pair)
    }

    /// New tokens for a session. They contain its ID, so that when they are no longer valid, the
    /// server can still find out whether the device exists.
    pub(super) fn new_tokens(
        &self,
        session_id: &str,
        refreshable: bool,
        seed: Option<(&str, &str)>,
    ) -> TokenPair {
        let token = |purpose: &str, prefix: &str| {
            self.new_secret(purpose, seed).text(&format!("{prefix}{session_id}."))
        };
        TokenPair {
            access: token("access token", ACCESS_PREFIX),
            refresh: refreshable.then(|| token("refresh token", REFRESH_PREFIX)),
            lifetime: refreshable.then_some(self.access_token_lifetime),
        }
    }

    fn new_secret(&self, purpose: &str, seed: Option<(&str, &str)>) -> Secret {
        match seed {
            Some((key, context)) => Secret::derive(key, &[purpose, context]),
            None => Secret::random(&self.random),
        }
    }

    /// The row of new tokens. `parent` is the token they were refreshed from.
    pub(super) fn token_row(
        &self,
        user_id: &UserId,
        session_id: &str,
        pair: &TokenPair,
        parent: Option<(&str, i64)>,
    ) -> TokenRow {
        let now_ms = self.clock.now_ms();
        let expires_ms = pair.lifetime.map(|lifetime| {
            now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX))
        });
        TokenRow {
            token_hash: secrets::hash(&pair.access),
            user_id: user_id.to_string(),
            session_id: session_id.to_owned(),
            generation: parent.map_or(0, |(_, generation)| generation + 1),
            created_ms: now_ms,
            expires_ms,
            refresh_hash: pair.refresh.as_deref().map(secrets::hash),
            parent_hash: parent.map(|(hash, _)| hash.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_session() {
        assert_eq!(session_of("stoa_access_a-b_c.xyz"), Some("a-b_c"));
        assert_eq!(session_of("stoa_refresh_abc.xyz"), Some("abc"));
        for other in ["", "abc.xyz", "stoa_access_abc", "stoa_access_a\0.x", "stoa_access_é.x"] {
            assert_eq!(session_of(other), None);
        }
    }
}
