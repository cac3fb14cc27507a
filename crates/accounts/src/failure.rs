//! What can fail anywhere, whatever is asked for.

use stoa_storage::log::AppendError;

/// The server, not the request, is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
    /// The change was not written, or is not known to be.
    #[error(transparent)]
    Append(AppendError),
    /// More is asked for than the server can do now. The client should try again.
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

/// Lets `?` turn what fails underneath into the `Failure` variant of an error.
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
