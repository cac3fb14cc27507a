//! Counts the rows that a test has written.

use stoa_storage::{Backend, Store};

/// Counts the rows that are inserted or changed after this was created.
#[derive(Clone, Debug)]
pub struct WrittenRows {
    store: Store,
    before: i64,
}

impl WrittenRows {
    /// Starts to count rows written to the database of `store`; on SQLite, only those written
    /// through this store.
    pub async fn begin(store: &Store) -> Self {
        let before = match store.backend() {
            Backend::Sqlite => total_changes(store).await,
            Backend::Postgres => next_transaction(store).await,
        };
        Self { store: store.clone(), before }
    }

    /// How many rows were written so far.
    pub async fn count(&self) -> i64 {
        match self.store.backend() {
            Backend::Sqlite => total_changes(&self.store).await - self.before,
            Backend::Postgres => rows_since(&self.store, self.before).await,
        }
    }
}

/// How many rows the writing connection of SQLite has written since it was opened.
async fn total_changes(store: &Store) -> i64 {
    let mut conn = store.write().await.expect("the database answers");
    conn.one::<(i64,)>("SELECT total_changes()", &[]).await.expect("a number").0
}

/// The ID that PostgreSQL's next transaction will get.
async fn next_transaction(store: &Store) -> i64 {
    let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let mut conn = store.read().await.expect("the database answers");
    conn.one::<(i64,)>(sql, &[]).await.expect("a number").0
}

/// How many rows of PostgreSQL were written by transactions from `first` on.
async fn rows_since(store: &Store, first: i64) -> i64 {
    let sql = "
        SELECT sum((xpath('/row/count/text()', query_to_xml(
            format('SELECT count(*) FROM %I WHERE xmin::text::bigint >= %s', table_name, $1),
            false, true, '')))[1]::text::bigint)::bigint
        FROM information_schema.tables WHERE table_schema = 'public'";
    let mut conn = store.read().await.expect("the database answers");
    conn.one::<(i64,)>(sql, &[first.into()]).await.expect("a number").0
}
