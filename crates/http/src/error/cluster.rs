//! Converts the errors of the cluster crate to Matrix errors.

use std::time::Duration;

use stoa_cluster::EnqueueError;

use super::Error;

impl From<EnqueueError> for Error {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::TooMany => Self::limit_exceeded(Duration::from_secs(60)),
            EnqueueError::TooLarge => Self::too_large("The request is too large."),
            EnqueueError::Storage(error) => error.into(),
        }
    }
}
