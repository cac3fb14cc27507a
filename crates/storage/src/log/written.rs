//! The outcome of one attempt to write a batch, as the database reports it to the writer.

use std::time::Duration;

use stoa_base::Pos;

use super::conflict::Conflict;

/// The outcome of one attempt to write a batch.
#[derive(Debug)]
pub(super) enum Written {
    /// The batch is written. `moved` are the appends, by index, whose rooms had other extremities than
    /// they were built on.
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

/// Measurements of one attempt to write a batch.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// How long the attempt waited for the log lock.
    pub(super) lock_wait: Duration,
}
