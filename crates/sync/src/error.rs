//! Why a sync fails. It is never the client's fault: its parameters were already parsed.

use stoa_rooms::RoomError;

/// The result of a sync.
pub type Result<T, E = SyncError> = std::result::Result<T, E>;

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Rooms could not be read.
    #[error(transparent)]
    Rooms(RoomError),
    /// The answer, or what was read for it, takes more memory than is allowed.
    #[error(transparent)]
    Exceeded(#[from] stoa_base::Exceeded),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
}

impl From<SyncError> for stoa_http::Error {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Rooms(error) => error.into(),
            SyncError::Exceeded(error) => error.into(),
            SyncError::Storage(error) => error.into(),
        }
    }
}

impl From<RoomError> for SyncError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Exceeded(exceeded) => Self::Exceeded(exceeded),
            error => Self::Rooms(error),
        }
    }
}
