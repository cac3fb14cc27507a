//! Places in the log, and what tells a batch from another one at the same place.

use stoa_base::Pos;

/// The run under which jumps are written: no run of a node has this number. Their number in it is
/// the position to which they go.
pub(super) const NO_RUN: i64 = 0;

/// The key under which a batch is written at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// The run of the node that writes it.
    pub incarnation: i64,
    /// Its number in that run.
    pub seq: i64,
}

/// A place in the log: a position, and the batch that ends there. Where the log has another batch
/// there, or none, it was restored to an earlier moment or failed over with loss, and perhaps has
/// grown again since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The position.
    pub pos: Pos,
    /// The batch; none where it is not known, or at the start of the log.
    pub key: Option<BatchKey>,
}

impl Mark {
    /// Before the first batch.
    pub const START: Self = Self { pos: Pos::START, key: None };
}
