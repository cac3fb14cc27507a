//! Giving out tokens for a device.

use std::{net::IpAddr, time::Duration};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{
        Append, AuditAction, AuditRow, DeviceChangeKind, DeviceRemovalRow, NewDeviceRow,
        SessionOrigin, SessionRow, Stream, TokenRow,
    },
    repo::devices,
};

use crate::{
    Accounts, NewTokens,
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
    /// Its ID; one is made where there is none. An existing device loses the session it has.
    pub device_id: Option<&'a DeviceId>,
    /// What to call it, if it is new.
    pub display_name: Option<&'a str>,
    /// Whether the client can refresh access tokens.
    pub refreshable: bool,
}

/// A session that is to be begun.
#[derive(Clone, Copy)]
pub(crate) struct SessionStart<'a> {
    /// Whose it is.
    pub(crate) user_id: &'a UserId,
    /// For which device.
    pub(crate) device: &'a NewDevice<'a>,
    /// How it came about.
    pub(crate) origin: SessionOrigin,
    /// Where the request came from.
    pub(crate) address: Option<IpAddr>,
    /// From what its tokens are derived, where the same request is to get the same ones again.
    pub(crate) seed: Option<(&'a str, &'a str)>,
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

/// The ID of the session that a token says it is of. Anybody can write such a token.
pub(crate) fn session_of(token: &str) -> Option<&str> {
    let rest = token.strip_prefix(ACCESS_PREFIX).or_else(|| token.strip_prefix(REFRESH_PREFIX))?;
    let (session_id, _) = rest.split_once('.')?;
    let is_id = session_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    is_id.then_some(session_id)
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
    /// The ID and tokens of a new session: random ones, or those that only who knows `seed` can
    /// derive again.
    pub(crate) fn new_session(
        &self,
        refreshable: bool,
        seed: Option<(&str, &str)>,
    ) -> (String, TokenPair) {
        let session_id = self.new_secret("session", seed).text("");
        let pair = self.new_tokens(&session_id, refreshable, seed);
        (session_id, pair)
    }

    /// New tokens of a session, which they name. So it is known of one that is good no more whether
    /// its device is still there.
    pub(crate) fn new_tokens(
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
            lifetime: refreshable.then_some(self.options.access_token_lifetime),
        }
    }

    fn new_secret(&self, purpose: &str, seed: Option<(&str, &str)>) -> Secret {
        match seed {
            Some((key, context)) => Secret::derive(key, &[purpose, context]),
            None => Secret::random(&self.random),
        }
    }

    /// The row of new tokens. `parent` is the token they were refreshed from.
    pub(crate) fn token_row(
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

    /// Adds a session to an append, with its device and tokens. Writing that also ends the session
    /// that the device had before, and those of the devices that the user would have too many of.
    pub(crate) async fn begin_session(
        &self,
        append: &mut Append,
        start: SessionStart<'_>,
    ) -> Result<NewSession, stoa_storage::Error> {
        let SessionStart { user_id, device, origin, address, seed } = start;
        let (session_id, pair) = self.new_session(device.refreshable, seed);
        let device_id = match device.device_id {
            Some(device_id) => {
                append.touched.add(Stream::Sessions, user_id);
                device_id.to_owned()
            }
            None => self.random.alphanumeric(10).to_ascii_uppercase().into(),
        };
        let now_ms = self.clock.now_ms();
        self.make_room(append, user_id, &device_id).await?;
        append.note_device_change(user_id, &device_id, DeviceChangeKind::Created);
        append.devices.push(NewDeviceRow {
            user_id: user_id.to_string(),
            device_id: device_id.to_string(),
            display_name: device.display_name.map(device_name),
            created_ms: now_ms,
        });
        append.sessions.push(SessionRow {
            session_id: session_id.clone(),
            user_id: user_id.to_string(),
            device_id: Some(device_id.to_string()),
            origin,
            created_ms: now_ms,
            expires_ms: None,
        });
        append.tokens.push(self.token_row(user_id, &session_id, &pair, None));
        let actor = Actor {
            user_id: user_id.to_owned(),
            device_id: Some(device_id.clone()),
            session_id: Some(session_id.clone()),
            address,
        };
        let row = AuditRow::new(now_ms, AuditAction::SessionBegun, &actor, user_id.as_str());
        append.audit.push(row.with("origin", origin.name()).with("session", session_id));
        Ok(NewSession { user_id: user_id.to_owned(), device_id, tokens: pair.into_new_tokens() })
    }

    /// Removes the devices that have to make way for `new`, so that its user does not have too many:
    /// those that have been unused for longest. Where two devices are logged in at the same moment,
    /// there may be one too many until the next log-in.
    ///
    /// Refusing the log-in instead would lock out whoever has no session to delete devices with.
    async fn make_room(
        &self,
        append: &mut Append,
        user_id: &UserId,
        new: &DeviceId,
    ) -> Result<(), stoa_storage::Error> {
        let limit = self.options.totals.devices;
        let mut conn = self.store.read().await?;
        for device_id in devices::longest_unused(&mut conn, user_id, new, limit).await? {
            tracing::info!(
                user = %user_id, device = %device_id,
                "the user has too many devices: the one unused for longest is removed"
            );
            append.touched.add(Stream::Sessions, user_id);
            append.note_device_change(user_id, &device_id, DeviceChangeKind::Removed);
            let row = AuditRow::new(
                self.clock.now_ms(),
                AuditAction::SessionEnded,
                &Actor::user(user_id),
                user_id.as_str(),
            );
            append
                .audit
                .push(row.with("reason", "too_many_devices").with("device", device_id.as_str()));
            append.device_removals.push(DeviceRemovalRow {
                user_id: user_id.to_string(),
                device_id: device_id.to_string(),
            });
        }
        Ok(())
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

    #[test]
    fn a_device_name_is_cleaned_and_cut_between_characters() {
        assert_eq!(device_name("Phone\0 of\n Ann"), "Phone of Ann");
        let cut = device_name(&"é".repeat(200));
        assert_eq!(cut, "é".repeat(127));
    }
}
