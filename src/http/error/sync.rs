//! What the sync crate refuses, in the words of the specification.

use stoa_sync::SyncError;

use super::Error;

impl From<SyncError> for Error {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Rooms(error) => error.into(),
            SyncError::Exceeded(error) => error.into(),
            SyncError::Storage(error) => error.into(),
        }
    }
}
