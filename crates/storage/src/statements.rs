//! Keeps track of the statements sent to the database: counts by purpose, and a tracing span for
//! each statement of a traced request.
//!
//! Values are bound, so the text of a statement contains none and can be shown.

use std::{
    fmt::{self, Write as _},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use stoa_base::TimeSpent;
use tracing::{Instrument as _, field::Empty};

use crate::Result;

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Reads, mostly for requests.
    Read,
    /// A transaction that writes. On SQLite this includes appends to the log.
    Write,
    /// The one call that appends a batch to the log on PostgreSQL, and the statements around it.
    Append,
    /// A look at the log, by a part that follows it.
    Follow,
}

impl StatementKind {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Append, Self::Follow];
}

/// The value of the metrics' label.
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
    /// The counter for statements of one kind.
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
    /// Adds one.
    pub(crate) fn add(&self) {
        self.counts.count(self.kind).fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for the answer to a statement. `rows` gets from the answer how many rows it gave or
/// changed, if that is known.
pub(crate) async fn follow<T>(
    sql: &str,
    answer: impl Future<Output = Result<T>>,
    rows: impl FnOnce(&T) -> Option<u64>,
) -> Result<T> {
    let _spending = TimeSpent::on_database();
    let span = tracing::debug_span!("statement", sql = %Shortened(sql), rows = Empty);
    let answer = answer.instrument(span.clone()).await;
    if let Some(rows) = answer.as_ref().ok().and_then(rows) {
        span.record("rows", rows);
    }
    answer
}

/// The beginning of a statement, on one line.
struct Shortened<'a>(&'a str);

impl Shortened<'_> {
    /// How many bytes are shown, plus the rest of the last word.
    const LENGTH: usize = 160;
}

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = 0;
        for word in self.0.split_whitespace() {
            if length > Self::LENGTH {
                return f.write_str(" …");
            }
            if length > 0 {
                f.write_char(' ')?;
            }
            f.write_str(word)?;
            length += word.len() + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_shown_in_one_line_that_is_not_long() {
        let text = "\nPRAGMA a,\n    b\nc";
        assert_eq!(Shortened(text).to_string(), "PRAGMA a, b c");
        let long = format!("PRAGMA a {}", "x = $1 AND ".repeat(50));
        let shown = Shortened(&long).to_string();
        assert!(shown.len() < 180 && shown.ends_with("AND …"), "{shown}");
    }
}
