//! Giving out tokens for a device.

use std::time::Duration;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use stoa_storage::{
    Conn,
    log::{Append, Stream, TokenRemovalRow},
    repo::{
        devices,
        tokens::{self, NewTokenRow},
    },
};

use crate::{
    Accounts, Failure, NewTokens,
    secrets::{self, Secret},
};

/// By these, a token that leaked can be found and told from other secrets.
const ACCESS_PREFIX: &str = "stoa_access_";
const REFRESH_PREFIX: &str = "stoa_refresh_";

const MAX_DEVICE_ID: usize = 255;
const MAX_DEVICE_NAME: usize = 255;

/// The device that a session is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewDevice<'a> {
    /// Its ID; one is made where there is none. An existing device loses the tokens it has.
    pub device_id: Option<&'a DeviceId>,
    /// What to call it, if it is new.
    pub display_name: Option<&'a str>,
    /// Whether the client can refresh access tokens.
    pub refreshable: bool,
}

/// A session that was begun.
#[derive(Clone)]
pub struct NewSession {
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// For which device.
    pub device_id: OwnedDeviceId,
    /// Its tokens.
    pub tokens: NewTokens,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSession")
            .field("user_id", &self.user_id)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

/// What a new session takes the place of.
pub(crate) struct Replaced {
    /// The tokens that its device had until now.
    tokens: Vec<String>,
    /// Devices of which the user would have too many.
    devices: Vec<OwnedDeviceId>,
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

/// Why a device cannot be used.
pub(crate) struct InvalidDeviceId;

impl NewDevice<'_> {
    /// Whether the device ID, where there is one, can be stored and told apart.
    pub(crate) fn check(&self) -> Result<(), InvalidDeviceId> {
        let Some(device_id) = self.device_id else { return Ok(()) };
        let id = device_id.as_str();
        if id.is_empty() || id.len() > MAX_DEVICE_ID || id.contains(char::is_control) {
            return Err(InvalidDeviceId);
        }
        Ok(())
    }
}

/// What a device may be called: what the user wrote, without control characters, cut to size.
pub(crate) fn device_name(name: &str) -> String {
    let mut clean: String = name.chars().filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(MAX_DEVICE_NAME));
    clean
}

impl Accounts {
    /// New tokens: random ones, or those that only who knows `derived_from` can derive again.
    pub(crate) fn new_tokens(
        &self,
        refreshable: bool,
        derived_from: Option<(&str, &str)>,
    ) -> TokenPair {
        let secret = |purpose: &str| match derived_from {
            Some((key, context)) => Secret::derive(key, &[purpose, context]),
            None => Secret::random(&self.random),
        };
        TokenPair {
            access: secret("access token").text(ACCESS_PREFIX),
            refresh: refreshable.then(|| secret("refresh token").text(REFRESH_PREFIX)),
            lifetime: refreshable.then_some(self.options.access_token_lifetime),
        }
    }

    /// Stores tokens. `parent_hash` is the token they were refreshed from.
    pub(crate) async fn store_tokens(
        &self,
        conn: &mut Conn,
        user_id: &UserId,
        device_id: &DeviceId,
        pair: &TokenPair,
        parent_hash: Option<&str>,
    ) -> Result<(), stoa_storage::Error> {
        let now_ms = self.clock.now_ms();
        let expires_ms = pair.lifetime.map(|lifetime| {
            now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX))
        });
        let refresh_hash = pair.refresh.as_deref().map(secrets::hash);
        let token = NewTokenRow {
            token_hash: &secrets::hash(&pair.access),
            user_id,
            device_id,
            created_ms: now_ms,
            expires_ms,
            refresh_hash: refresh_hash.as_deref(),
            parent_hash,
        };
        tokens::insert(conn, &token).await
    }

    /// Begins a session in a transaction, and gives what is to be ended after the commit.
    pub(crate) async fn begin_session(
        &self,
        conn: &mut Conn,
        user_id: &UserId,
        device: &NewDevice<'_>,
        pair: TokenPair,
    ) -> Result<(NewSession, Replaced), stoa_storage::Error> {
        let device_id = match device.device_id {
            Some(device_id) => device_id.to_owned(),
            None => self.random.alphanumeric(10).to_ascii_uppercase().into(),
        };
        let name = device.display_name.map(device_name);
        let now_ms = self.clock.now_ms();
        devices::insert(conn, user_id, &device_id, name.as_deref(), now_ms).await?;
        let replaced = Replaced {
            tokens: tokens::of_device(conn, user_id, &device_id).await?,
            devices: self.devices_over_limit(conn, user_id, &device_id).await?,
        };
        self.store_tokens(conn, user_id, &device_id, &pair, None).await?;
        let tokens = pair.into_new_tokens();
        Ok((NewSession { user_id: user_id.to_owned(), device_id, tokens }, replaced))
    }

    /// The devices that have to make way for `new`, so that its user does not have too many: those
    /// that were not used for longest.
    ///
    /// Refusing the log-in instead would lock out whoever has no session to delete devices with.
    pub(crate) async fn devices_over_limit(
        &self,
        conn: &mut Conn,
        user_id: &UserId,
        new: &DeviceId,
    ) -> Result<Vec<OwnedDeviceId>, stoa_storage::Error> {
        devices::longest_unused(conn, user_id, new, self.options.totals.devices).await
    }

    /// Ends what a new session has replaced.
    pub(crate) async fn end_replaced(
        &self,
        user_id: &UserId,
        replaced: Replaced,
    ) -> Result<(), Failure> {
        let Replaced { tokens, devices } = replaced;
        if !devices.is_empty() {
            tracing::info!(user = %user_id, count = devices.len(), "too many devices: the longest unused are removed");
            self.end_devices(user_id, devices).await?;
        }
        if tokens.is_empty() {
            return Ok(());
        }
        let mut append = Append::new();
        append.touched.add(Stream::Sessions, user_id);
        append.token_removals = tokens
            .into_iter()
            .map(|token_hash| TokenRemovalRow { token_hash, successor: None })
            .collect();
        self.writer.append(append).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_is_cleaned_and_cut_between_characters() {
        assert_eq!(device_name("Phone\0 of\n Ann"), "Phone of Ann");
        let cut = device_name(&"é".repeat(200));
        assert_eq!(cut, "é".repeat(127));
    }
}
