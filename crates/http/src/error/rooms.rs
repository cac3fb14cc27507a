//! Converts the errors of the rooms crate to Matrix errors.

use http::StatusCode;
use ruma::api::error::ErrorKind;
use stoa_rooms::RoomError;

use super::Error;

impl From<RoomError> for Error {
    fn from(error: RoomError) -> Self {
        let message = error.to_string();
        match error {
            RoomError::NotFound(_) => Self::not_found(message),
            RoomError::Forbidden(_) => Self::forbidden(message),
            RoomError::BadJson(_) => Self::bad_json(message),
            RoomError::InvalidParam(_) => Self::invalid_param(message),
            RoomError::TooLarge(_) => Self::too_large(message),
            RoomError::UnsupportedVersion(_) => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnsupportedRoomVersion, message)
            }
            RoomError::InvalidRoomState(_) => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidRoomState, message)
            }
            RoomError::Exceeded(error) => error.into(),
            RoomError::NotLeft => Self::bad_request(message),
            RoomError::Append(error) => error.into(),
            RoomError::Storage(error) => error.into(),
            RoomError::MissingPrevEvents(_)
            | RoomError::MissingAuthEvents(_)
            | RoomError::Pdu(_)
            | RoomError::Resolution(_) => Self::internal(error),
        }
    }
}
