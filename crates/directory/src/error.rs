//! Why something about the directory was refused.

use stoa_rooms::RoomError;

/// The result of an operation on the directory.
pub type Result<T, E = DirectoryError> = std::result::Result<T, E>;

/// Why an operation on the directory was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The alias is not one that this server could have.
    #[error("{0}")]
    InvalidAlias(&'static str),
    /// There is no such alias.
    #[error("There is no room with this alias")]
    NotFound,
    /// The alias leads to a room already.
    #[error("The alias is taken")]
    Taken,
    /// The room has as many aliases as it may have.
    #[error("The room has as many aliases as it may have")]
    TooMany,
    /// The user may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The token is not one that this server gave out.
    #[error("`since` is not a token of the room list")]
    InvalidToken,
    /// Something about the room failed.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
}
