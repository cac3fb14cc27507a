//! How many statements are sent to the database, by what for: what requests cost there.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Reading, for requests above all.
    Read,
    /// A transaction that writes. On SQLite appends to the log are such transactions.
    Write,
    /// The one call that appends a batch to the log on PostgreSQL, with what surrounds it.
    Append,
    /// A look at the log, for whatever follows it.
    Follow,
}

impl StatementKind {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Append, Self::Follow];
}

/// As a label of metrics.
impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Append => "append",
            Self::Follow => "follow",
        })
    }
}

/// The counts of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statements(Arc<[AtomicU64; 4]>);

impl Statements {
    /// What counts the statements of one kind.
    pub(crate) fn of(&self, kind: StatementKind) -> StatementCount {
        StatementCount { counts: self.clone(), kind }
    }

    /// All counts.
    pub(crate) fn all(&self) -> [(StatementKind, u64); 4] {
        StatementKind::ALL.map(|kind| (kind, self.count(kind).load(Ordering::Relaxed)))
    }

    fn count(&self, kind: StatementKind) -> &AtomicU64 {
        let [read, write, append, follow] = &*self.0;
        match kind {
            StatementKind::Read => read,
            StatementKind::Write => write,
            StatementKind::Append => append,
            StatementKind::Follow => follow,
        }
    }
}

/// Counts the statements of one kind.
#[derive(Clone, Debug)]
pub(crate) struct StatementCount {
    counts: Statements,
    kind: StatementKind,
}

impl StatementCount {
    /// Counts one more.
    pub(crate) fn add(&self) {
        self.counts.count(self.kind).fetch_add(1, Ordering::Relaxed);
    }
}
