//! Converts the errors of the push crate to Matrix errors.

use stoa_push::ReadStateError;

use super::Error;

impl From<ReadStateError> for Error {
    fn from(error: ReadStateError) -> Self {
        let message = error.to_string();
        match error {
            ReadStateError::NotInRoom => Self::forbidden(message),
            ReadStateError::InvalidThread(_) => Self::invalid_param(message),
            ReadStateError::Room(error) => error.into(),
            ReadStateError::Append(error) => error.into(),
            ReadStateError::Storage(error) => error.into(),
        }
    }
}
