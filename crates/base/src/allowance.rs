//! Limits the memory that an answer may take while it is built.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The bytes that an answer may take while it is built. Cheap to clone; all clones share the same
/// bytes.
///
/// Code that reads data for an answer takes the bytes it has read before it reads on. So no size
/// has to be known in advance, and an answer that turns out larger than expected ends early.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    allowed: u64,
    taken: AtomicU64,
}

/// The allowance was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more memory is needed than is allowed")]
pub struct Exceeded;

impl Allowance {
    /// An allowance of `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Bytes { allowed: bytes, taken: AtomicU64::new(0) }))
    }

    /// An allowance that is never exceeded.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes more bytes, or fails if that is more than is allowed. They count even then, so that
    /// [`Allowance::is_exceeded`] returns true afterwards.
    pub fn take(&self, bytes: u64) -> Result<(), Exceeded> {
        let before = self.0.taken.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.0.allowed { Err(Exceeded) } else { Ok(()) }
    }

    /// Gives bytes back. Never give back more than were taken.
    pub fn give_back(&self, bytes: u64) {
        self.0.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Gives everything back, to start over.
    pub fn reset(&self) {
        self.0.taken.store(0, Ordering::Relaxed);
    }

    /// How many bytes may still be taken.
    pub fn left(&self) -> u64 {
        self.0.allowed.saturating_sub(self.0.taken.load(Ordering::Relaxed))
    }

    /// How many rows to ask the database for if each takes at least `bytes` bytes: as many as are
    /// still allowed, and one more to detect that there are more.
    pub fn rows(&self, bytes: u64) -> i64 {
        i64::try_from(self.left() / bytes.max(1)).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// Whether more was needed than is allowed.
    pub fn is_exceeded(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed) > self.0.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_more_than_is_allowed_is_asked_for() {
        let allowance = Allowance::new(10);
        assert_eq!([1, 3, 10, 11].map(|bytes| allowance.rows(bytes)), [11, 4, 2, 1]);
        allowance.take(11).unwrap_err();
        assert_eq!(allowance.rows(1), 1);
        assert_eq!(Allowance::unlimited().rows(1), i64::MAX);
    }

    #[test]
    fn no_more_is_taken_than_is_allowed() {
        let allowance = Allowance::new(10);
        let clone = allowance.clone();
        assert_eq!(allowance.take(6), Ok(()));
        assert_eq!((clone.take(4), clone.left(), clone.is_exceeded()), (Ok(()), 0, false));
        assert_eq!((allowance.take(1), clone.is_exceeded()), (Err(Exceeded), true));
        allowance.reset();
        assert_eq!((allowance.take(10), clone.is_exceeded()), (Ok(()), false));
        allowance.give_back(3);
        assert_eq!((clone.left(), clone.take(3)), (3, Ok(())));
        assert_eq!(Allowance::unlimited().take(u64::MAX), Ok(()));
    }
}
