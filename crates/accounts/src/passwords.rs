//! Passwords: logging in with one, changing it, and checking it for other operations.

mod change;
mod check;
mod failed_logins;
mod hashing;
mod log_in;

use std::sync::Arc;

use ruma::OwnedServerName;
use stoa_base::Clock;
use stoa_storage::{Store, log::Writer};

pub use self::{
    change::ChangePasswordError,
    hashing::{BadPasswordCost, UnfitPassword},
    log_in::{LoginError, PasswordLogin},
};
pub(crate) use self::{
    check::PasswordCheck,
    failed_logins::FailedLogins,
    hashing::{Hasher, check_new_password},
};
use crate::{attempts::Attempts, sessions::Sessions};

/// The passwords of local users.
#[derive(Debug)]
pub struct Passwords {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) clock: Clock,
    pub(crate) server_name: OwnedServerName,
    pub(crate) hasher: Hasher,
    pub(crate) attempts: Attempts,
    pub(crate) failed_logins: FailedLogins,
    pub(crate) sessions: Arc<Sessions>,
}
