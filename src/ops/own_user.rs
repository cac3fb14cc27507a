//! Requests whose path contains the ID of the user who makes them.

use ruma::UserId;
use stoa_http::{Error, Result};

/// Refuses a request whose path names a user other than the one who makes it.
pub(crate) fn check_own_user(user: &UserId, requester: &UserId) -> Result<()> {
    if user == requester {
        Ok(())
    } else {
        Err(Error::forbidden("You can do this only for your own account."))
    }
}
