//! What comes of one attempt to write a batch, as the writer hears it from the database.

use std::time::Duration;

use stoa_base::Pos;

use super::conflict::Conflict;

/// What came of one attempt to write a batch.
#[derive(Debug)]
pub(super) enum Written {
    /// It is written, though the extremities of these appends' rooms have moved.
    Committed {
        prev: Pos,
        last: Pos,
        moved: Vec<usize>,
    },
    Conflicts(Vec<Conflict>),
    /// The log ends before what this node has seen of it.
    Behind {
        head: Pos,
    },
}

/// What an attempt to write a batch has measured.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// How long it waited for the log lock.
    pub(super) lock_wait: Duration,
}
