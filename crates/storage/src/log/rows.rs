//! The rows of a batch, as they go to the database.

/// What a batch holds for one table, or its guards of one kind.
#[derive(Debug)]
pub(super) struct Rows {
    /// The name under which `append_batch` takes them.
    pub(super) name: &'static str,
    /// The statements for SQLite, which take them as `$1`.
    pub(super) sqlite: &'static [&'static str],
    /// The statement that finds out which of them are there already, where they must be new.
    pub(super) taken: Option<&'static str>,
    /// The rows as one JSON array.
    pub(super) json: String,
}
