//! Beginning a session for a device.

use std::net::IpAddr;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{
        Append, AuditAction, AuditRow, DeviceChangeKind, DeviceRemovalRow, NewDeviceRow,
        SessionOrigin, SessionRow, Stream,
    },
    repo::devices,
};

use super::{Sessions, tokens::NewTokens};

const MAX_DEVICE_ID: usize = 255;
const MAX_DEVICE_NAME: usize = 255;

/// The device that a session is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewDevice<'a> {
    /// Its ID; `None` to generate one. If the device exists, its current session ends.
    pub device_id: Option<&'a DeviceId>,
    /// Its display name, used only if the device is new.
    pub display_name: Option<&'a str>,
    /// Whether the client supports refresh tokens.
    pub refreshable: bool,
}

/// A session to begin.
#[derive(Clone, Copy)]
pub(crate) struct SessionStart<'a> {
    /// The user.
    pub(crate) user_id: &'a UserId,
    /// The device.
    pub(crate) device: &'a NewDevice<'a>,
    /// How the user logged in.
    pub(crate) origin: SessionOrigin,
    /// The address that the request came from.
    pub(crate) address: Option<IpAddr>,
    /// The seed for its tokens, if a repeated request is to get the same tokens.
    pub(crate) seed: Option<(&'a str, &'a str)>,
}

/// A session that has begun.
#[derive(Clone)]
pub struct NewSession {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
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

/// The device ID is not valid.
pub(crate) struct InvalidDeviceId;

impl NewDevice<'_> {
    /// Checks the device ID, if there is one.
    pub(crate) fn check(&self) -> Result<(), InvalidDeviceId> {
        let Some(device_id) = self.device_id else { return Ok(()) };
        let id = device_id.as_str();
        if id.is_empty() || id.len() > MAX_DEVICE_ID || id.contains(char::is_control) {
            return Err(InvalidDeviceId);
        }
        Ok(())
    }
}

/// A device's display name, without control characters and truncated to the limit.
fn device_name(name: &str) -> String {
    let mut clean: String = name.chars().filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(MAX_DEVICE_NAME));
    clean
}

impl Sessions {
    /// Adds a session to an append, with its device and tokens. The append also ends the device's
    /// earlier session and, if the user then has too many devices, removes those unused for
    /// longest.
    pub(crate) async fn begin(
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

    /// Removes the devices that have been unused for longest, so that the user stays within the
    /// limit with `new`. If two devices log in concurrently, there may be one too many until the
    /// next login.
    ///
    /// Refusing the login instead would lock out a user who has no session left to delete devices.
    async fn make_room(
        &self,
        append: &mut Append,
        user_id: &UserId,
        new: &DeviceId,
    ) -> Result<(), stoa_storage::Error> {
        let limit = self.max_devices;
        let mut conn = self.store.read().await?;
        for device_id in devices::longest_unused(&mut conn, user_id, new, limit).await? {
            tracing::info!(
                user = %user_id, device = %device_id,
                "too many devices: removing the one unused for longest"
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
    fn a_device_name_is_cleaned_and_cut_between_characters() {
        assert_eq!(device_name("Phone\0 of\n Ann"), "Phone of Ann");
        let cut = device_name(&"é".repeat(200));
        assert_eq!(cut, "é".repeat(127));
    }
}
