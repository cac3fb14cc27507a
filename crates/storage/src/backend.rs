//! The two databases.

/// Which of the two databases a store uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, embedded: for a deployment with one node.
    Sqlite,
    /// PostgreSQL, shared: for a deployment with any number of nodes.
    Postgres,
}
