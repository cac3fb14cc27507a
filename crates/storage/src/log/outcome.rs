//! The outcomes of an append, as its caller gets them.

use stoa_base::Pos;

use super::rel_pos::RelPos;

/// Where an append is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub(super) base: Pos,
    pub(super) last: Pos,
}

impl Appended {
    /// The position that a row of the append got.
    pub fn pos(&self, relative: RelPos) -> Pos {
        Pos(self.base.0 + relative.0)
    }

    /// The head after the append's batch. A reader that has seen it has seen the append.
    pub fn last(&self) -> Pos {
        self.last
    }
}

/// Why an append was not written, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full.
    #[error("too many changes are waiting to be written")]
    Busy,
    /// The room has moved, or an append that this one was built on has failed. Build it again.
    #[error("the room changed while the event was being sent")]
    Conflict,
    /// An event with this ID, or with this transaction ID from the same device, already exists.
    #[error("the event already exists")]
    Duplicate,
    /// The session has ended, or the token being refreshed has been replaced.
    #[error("the session has ended")]
    SessionEnded,
    /// The account is not in the state that the append relies on.
    #[error("the account changed in the meantime")]
    AccountChanged,
    /// The database refused this append.
    #[error("the database refused the change: {0}")]
    Refused(String),
    /// The database could not be reached in time. The append may or may not have been written.
    #[error("the database cannot be reached")]
    Unavailable,
}
