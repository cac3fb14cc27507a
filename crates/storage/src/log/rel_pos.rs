//! Positions within an append.

use serde::Serialize;

/// A position relative to the start of an append, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RelPos(pub i64);
