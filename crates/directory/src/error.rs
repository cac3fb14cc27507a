//! The errors of the directory.

use stoa_rooms::RoomError;

/// The result of an operation on the directory.
pub type Result<T, E = DirectoryError> = std::result::Result<T, E>;

/// Why an operation on the directory was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The alias is not a valid local alias.
    #[error("{0}")]
    InvalidAlias(&'static str),
    /// There is no such alias.
    #[error("There is no room with this alias")]
    NotFound,
    /// The alias already leads to a room.
    #[error("The alias is taken")]
    Taken,
    /// The room has the maximum number of aliases.
    #[error("The room already has the maximum number of aliases")]
    TooMany,
    /// The user may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The token is not valid.
    #[error("`since` is not a token of the room list")]
    InvalidToken,
    /// An operation on the room failed.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
}
