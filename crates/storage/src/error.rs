//! What can go wrong between the program and its database.

/// The result of a database operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database, or the way to it, refused or failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not answer in time.
    #[error("the database did not answer in time: {0}")]
    Timeout(&'static str),
    /// A row holds something that no version of the program writes.
    #[error("the database holds a row that cannot be read: {0}")]
    Corrupt(String),
    /// The database gave an answer that this version does not understand.
    #[error("the database gave an answer that cannot be read: {0}")]
    Answer(String),
    /// The program asked for something that cannot be done. A retry would fail too.
    #[error("a bug in the program: {0}")]
    Fault(String),
    /// A text contains a null character, which PostgreSQL cannot store, so no row can match it.
    #[error("a text contains a null character")]
    Null,
    /// A write under a lease was refused, because another node may hold the lease by now.
    #[error("the lease was lost")]
    LeaseLost,
}

impl Error {
    /// A row that cannot be understood; `what` says what is wrong with it.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    /// An answer that cannot be understood; `what` says what is wrong with it.
    pub(crate) fn answer(what: impl std::fmt::Display) -> Self {
        Self::Answer(what.to_string())
    }

    /// A mistake in the program itself: what it must not do, and why.
    pub(crate) fn fault(what: impl std::fmt::Display) -> Self {
        Self::Fault(what.to_string())
    }

    /// Whether a uniqueness constraint refused the row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether the database could not be reached, or not in time. A retry, or another node, may
    /// succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Corrupt(_) | Self::Answer(_) | Self::Fault(_) | Self::Null | Self::LeaseLost => {
                false
            }
            Self::Database(error) => match error {
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
                // Broken connections, a lack of resources, and a server that is stopping or
                // starting.
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
                        && error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some()
                }),
                _ => false,
            },
        }
    }

    /// Whether the database understood the statement and refused it for what it says. Then nothing
    /// was written, and a retry would fail too.
    ///
    /// All other errors are temporary (a lost connection, a server that is stopping or starting, a
    /// time-out, a full disk). A COMMIT that ends in one of them may have been carried out.
    pub(crate) fn is_refusal(&self) -> bool {
        let error = match self {
            Self::Database(sqlx::Error::Database(error)) => error,
            Self::Database(sqlx::Error::Encode(_)) | Self::Fault(_) | Self::Null => return true,
            Self::Database(_)
            | Self::Timeout(_)
            | Self::Corrupt(_)
            | Self::Answer(_)
            | Self::LeaseLost => return false,
        };
        let Some(code) = error.code() else { return false };
        if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            // Data exceptions, broken constraints, limits, statements that do not fit the schema,
            // errors raised in functions, internal errors.
            ["22", "23", "42", "54", "P0", "XX"].iter().any(|class| code.starts_with(class))
        } else {
            // The low byte of SQLite's code: ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE.
            code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 1 | 18 | 19 | 20 | 25))
        }
    }
}
