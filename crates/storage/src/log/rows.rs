//! The rows of a batch in the form in which the database takes them.

/// The rows of a batch for one table, or its guards of one kind.
#[derive(Debug)]
pub(super) struct Rows {
    /// The name under which `append_batch` takes them.
    pub(super) name: &'static str,
    /// The statements for SQLite, which take them as `$1`.
    pub(super) sqlite: &'static [&'static str],
    /// For rows that must be new: the statement that finds those that already exist.
    pub(super) taken: Option<&'static str>,
    /// The rows as one JSON array.
    pub(super) json: String,
}
