//! The failures that any operation can run into.

use stoa_storage::log::AppendError;

/// The server failed, not the request.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
    /// The change was not written, or its outcome is unknown.
    #[error(transparent)]
    Append(AppendError),
    /// The server is overloaded. The client should try again.
    #[error("the server is busy")]
    Busy,
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::Busy,
            error => Self::Append(error),
        }
    }
}

/// Lets `?` convert the errors of lower layers into the `Failure` variant of an error.
macro_rules! fails_with_failure {
    ($error:ty) => {
        impl From<stoa_storage::Error> for $error {
            fn from(error: stoa_storage::Error) -> Self {
                Self::Failure(error.into())
            }
        }

        impl From<stoa_storage::log::AppendError> for $error {
            fn from(error: stoa_storage::log::AppendError) -> Self {
                Self::Failure(error.into())
            }
        }
    };
}

pub(crate) use fails_with_failure;
