//! Requests whose path names the user who makes them.

use ruma::UserId;
use stoa_http::{Error, Result};

/// Refuses a request that names another user than the one who makes it.
pub(crate) fn check_own_user(user: &UserId, requester: &UserId) -> Result<()> {
    if user == requester {
        Ok(())
    } else {
        Err(Error::forbidden("This can be done for one's own account only."))
    }
}
