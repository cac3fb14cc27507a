//! Errors of operations on rooms.

use ruma::{OwnedEventId, RoomVersionId};
use stoa_storage::log::AppendError;

use crate::graph::{pdu::PduError, resolution::ResolutionError};

/// The result of an operation on a room.
pub type Result<T, E = RoomError> = std::result::Result<T, E>;

/// Why an operation on a room was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// There is no such room, event or state entry, or the user is not allowed to know about it.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The authorization rules or the server's own rules forbid it.
    #[error("{0}")]
    Forbidden(String),
    /// The content does not have the form that its event type requires.
    #[error("{0}")]
    BadJson(String),
    /// A parameter has a value that is not allowed.
    #[error("{0}")]
    InvalidParam(String),
    /// The event is larger than the specification allows.
    #[error("the event is too large: {0}")]
    TooLarge(String),
    /// The room version is not supported.
    #[error("room version {0} is not supported")]
    UnsupportedVersion(RoomVersionId),
    /// The room would be invalid, for example because of its initial state.
    #[error("{0}")]
    InvalidRoomState(String),
    /// Events in the event's `prev_events` are not on this server.
    #[error("{} previous events are missing", .0.len())]
    MissingPrevEvents(Vec<OwnedEventId>),
    /// Events in the event's `auth_events` are not on this server.
    #[error("{} auth events are missing", .0.len())]
    MissingAuthEvents(Vec<OwnedEventId>),
    /// A user can forget a room only after leaving it.
    #[error("You have not left this room")]
    NotLeft,
    /// The append to the log failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The event could not be built.
    #[error("the event cannot be built: {0}")]
    Pdu(#[from] PduError),
    /// The state of a fork could not be resolved.
    #[error(transparent)]
    Resolution(#[from] ResolutionError),
    /// The answer takes more memory than is allowed.
    #[error(transparent)]
    Exceeded(#[from] stoa_base::Exceeded),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] stoa_storage::Error),
}

impl RoomError {
    /// Maps an error about building an event from a client's request.
    pub(crate) fn from_build(error: PduError) -> Self {
        match error {
            PduError::TooLarge(_) | PduError::FieldTooLong(_) => Self::TooLarge(error.to_string()),
            PduError::Json(_) | PduError::ContentNotObject => Self::BadJson(error.to_string()),
            error => Self::Pdu(error),
        }
    }

    /// Refuses something, with a reason for the user.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::Forbidden(why.into())
    }
}
