//! Converts the errors of the ephemeral crate to Matrix errors.

use std::time::Duration;

use stoa_ephemeral::TypingError;

use super::Error;

impl From<TypingError> for Error {
    fn from(error: TypingError) -> Self {
        match error {
            TypingError::Busy => Self::limit_exceeded(Duration::from_secs(1)),
            TypingError::Unavailable => Self::unavailable(error),
        }
    }
}
