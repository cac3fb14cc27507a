//! A session, as found by its access token.

use std::{net::IpAddr, sync::atomic::AtomicI64};

use ruma::{OwnedDeviceId, OwnedUserId};
use stoa_base::{Actor, DeviceKey};
use stoa_storage::{
    log::{Append, Guard},
    repo::tokens::TokenRow,
};

/// The session of an access token.
#[derive(Debug)]
pub struct Session {
    /// The session ID, which does not change when tokens are refreshed. It is not secret.
    pub id: String,
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// Distinguishes the device from earlier ones of the user with the same ID. Zero for a device
    /// created before this number existed.
    device_generation: i64,
    /// The hash of the access token.
    pub(super) token_hash: String,
    /// Whether the user is an admin of this server.
    pub is_admin: bool,
    /// When the access token expires, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// When the session ends, however often it is refreshed.
    ends_ms: Option<i64>,
    /// When this node last noted that the device was seen.
    pub(super) seen_ms: AtomicI64,
}

impl Session {
    pub(super) fn new(row: TokenRow) -> Self {
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

    /// A name for the device that no other device ever has.
    pub fn device_key(&self) -> DeviceKey {
        DeviceKey::new(&self.user_id, &self.device_id, self.device_generation)
    }

    /// A guard that makes an append fail if the session has ended. Every append made for a session
    /// from [`Sessions::cached`](super::Sessions::cached) must carry it.
    ///
    /// It does not fail if the token was refreshed meanwhile. So the old token can still send for a
    /// moment on a node that does not know yet that the new one has been used.
    pub fn guard(&self) -> Guard {
        Guard::Session(self.id.clone())
    }

    pub(super) fn has_ended(&self, now_ms: i64) -> bool {
        self.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms)
    }

    pub(super) fn is_expired(&self, now_ms: i64) -> bool {
        self.has_ended(now_ms) || self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

/// Makes an append fail if the session that `actor` uses has ended.
pub(crate) fn guard_actor(append: &mut Append, actor: &Actor) {
    append.guards.extend(actor.session_id.clone().map(Guard::Session));
}
