//! The user on whose behalf a change is made.

use std::net::IpAddr;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};

/// Who makes a change, from which device and address. Every changing function takes an `Actor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user who acts.
    pub user_id: OwnedUserId,
    /// The device whose token the request carried; `None` for the server's own actions.
    pub device_id: Option<OwnedDeviceId>,
    /// The session of that token. Once it has ended, nothing is changed for this actor.
    pub session_id: Option<String>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// The user acting without a device, as in admin commands and jobs.
    pub fn user(user_id: &UserId) -> Self {
        Self { user_id: user_id.to_owned(), device_id: None, session_id: None, address: None }
    }
}
