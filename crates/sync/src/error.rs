//! Why a sync fails. A client is never at fault: what it sends was understood before.

/// The result of a sync.
pub type Result<T, E = SyncError> = std::result::Result<T, E>;

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Rooms could not be read.
    #[error(transparent)]
    Rooms(#[from] stoa_rooms::RoomError),
    /// The answer takes more memory than is allowed.
    #[error(transparent)]
    Exceeded(#[from] stoa_base::Exceeded),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
}
