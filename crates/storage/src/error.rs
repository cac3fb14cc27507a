//! What can go wrong between the program and its database.

/// The result of a database operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database, or the way to it, refused or failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row holds what no version of the program writes.
    #[error("the database holds a row that cannot be read: {0}")]
    Corrupt(String),
}

impl Error {
    /// A row that cannot be understood, with what is wrong with it.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    /// Whether a uniqueness constraint refused the row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}
