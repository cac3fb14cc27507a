//! The client-server API: a folder for each chapter of the specification, a file for each of its
//! operations with the request, its handler, and its tests.

pub(crate) mod account;
pub(crate) mod account_data;
pub(crate) mod directory;
pub(crate) mod discovery;
pub(crate) mod filter;
pub(crate) mod profile;
pub(crate) mod push_rules;
pub(crate) mod receipts;
pub(crate) mod registration;
pub(crate) mod rooms;
pub(crate) mod session;
pub(crate) mod sync;
pub(crate) mod typing;

use ruma::UserId;
use stoa_http::{Error, Result};

/// Refuses a request that names another user than the one who makes it.
fn own(user: &UserId, requester: &UserId) -> Result<()> {
    if user == requester {
        Ok(())
    } else {
        Err(Error::forbidden("This can be done for one's own account only."))
    }
}
