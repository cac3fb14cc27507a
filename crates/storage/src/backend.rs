//! The two databases.

/// Which database a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded database of a deployment with one node.
    Sqlite,
    /// The shared database of a deployment with any number of nodes.
    Postgres,
}
