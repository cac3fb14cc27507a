//! Places in the log, and the keys by which two batches at the same position can be distinguished.

use stoa_base::Pos;

/// The run number under which jumps are written; no run of a node has it. The batch number of a
/// jump is the position that it leads to.
pub(super) const NO_RUN: i64 = 0;

/// The key of a batch, under which it is written at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// The run of the node that writes the batch.
    pub incarnation: i64,
    /// The number of the batch in that run.
    pub seq: i64,
}

/// A place in the log: a position, and the batch that ends there. If the log has a different batch
/// at the position, or none, it was restored to an earlier moment or failed over with loss, and may
/// have grown again since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The position at which the batch ends.
    pub pos: Pos,
    /// The batch; `None` if it is not known, or at the start of the log.
    pub key: Option<BatchKey>,
}

impl Mark {
    /// The place before the first batch.
    pub const START: Self = Self { pos: Pos::START, key: None };
}
