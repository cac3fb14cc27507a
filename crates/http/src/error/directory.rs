//! Converts the errors of the directory crate to Matrix errors.

use http::StatusCode;
use ruma::api::error::ErrorKind;
use stoa_directory::DirectoryError;

use super::Error;

impl From<DirectoryError> for Error {
    fn from(error: DirectoryError) -> Self {
        let message = error.to_string();
        match error {
            DirectoryError::InvalidAlias(_) | DirectoryError::InvalidToken => {
                Self::invalid_param(message)
            }
            DirectoryError::NotFound => Self::not_found(message),
            DirectoryError::Taken => Self::new(StatusCode::CONFLICT, ErrorKind::Unknown, message),
            DirectoryError::TooMany => Self::bad_request(message),
            DirectoryError::Forbidden(_) => Self::forbidden(message),
            DirectoryError::Room(error) => error.into(),
            DirectoryError::Storage(error) => error.into(),
        }
    }
}
