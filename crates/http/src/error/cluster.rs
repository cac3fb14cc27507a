//! What the cluster crate refuses, in the words of the specification.

use std::time::Duration;

use stoa_cluster::EnqueueError;

use super::Error;

impl From<EnqueueError> for Error {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::TooMany => Self::limit_exceeded(Duration::from_secs(60)),
            EnqueueError::TooLarge => Self::too_large("What is asked for is too large."),
            EnqueueError::Storage(error) => error.into(),
        }
    }
}
