//! Sessions, from login to logout: finding them by access token, refreshing them, ending them.

mod begin;
mod cache;
mod find;
mod last_seen;
mod log_out;
mod refresh;
mod session;
mod tokens;

use std::{sync::Arc, time::Duration};

use stoa_base::{Clock, Random};
use stoa_cluster::Freshness;
use stoa_storage::{Store, log::Writer};

pub(crate) use self::{
    begin::SessionStart, last_seen::LastSeen, log_out::EndOfDevices, session::guard_actor,
};
pub use self::{
    begin::{NewDevice, NewSession},
    cache::SessionCache,
    find::SessionError,
    refresh::RefreshError,
    session::Session,
    tokens::NewTokens,
};

/// The sessions of local users.
#[derive(Debug)]
pub struct Sessions {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) freshness: Freshness,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) cache: Arc<SessionCache>,
    pub(crate) last_seen: LastSeen,
    pub(crate) access_token_lifetime: Duration,
    /// The maximum number of devices per user.
    pub(crate) max_devices: i64,
}
