//! A connection to either database, and how values go into a statement and come out of a row.

use std::{future::Future, pin::Pin};

use futures_util::TryStreamExt;
use sqlx::{
    PgConnection, Postgres, Row as _, Sqlite, SqliteConnection, Transaction,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{
    Backend, Error, Result,
    postgres_host::Lender,
    statements::{self, StatementCount},
    wal::Admission,
};

/// A connection, or a transaction that is rolled back unless it is committed.
#[derive(Debug)]
pub struct Conn {
    inner: Inner,
    count: StatementCount,
    /// PostgreSQL only: limits how long to wait for an answer.
    lender: Option<Lender>,
    /// SQLite readers only: keeps the write-ahead log from being emptied.
    _admission: Option<Admission>,
}

#[derive(Debug)]
pub(crate) enum Inner {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTransaction(Transaction<'static, Postgres>),
}

/// A statement being sent.
struct Statement<'c> {
    sql: &'static str,
    lender: Option<&'c Lender>,
}

impl Statement<'_> {
    /// Waits for the answer for as long as one can still come. Boxed, because every future around
    /// it would otherwise hold it twice.
    async fn answer<T>(
        self,
        answer: Pin<Box<impl Future<Output = Result<T>>>>,
        rows: impl FnOnce(&T) -> Option<u64>,
    ) -> Result<T> {
        match self.lender {
            None => statements::follow(self.sql, answer, rows).await,
            Some(lender) => statements::follow(self.sql, lender.wait_for(answer), rows).await,
        }
    }
}

enum Target<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl From<PoolConnection<Sqlite>> for Inner {
    fn from(conn: PoolConnection<Sqlite>) -> Self {
        Self::Sqlite(conn)
    }
}

impl From<Transaction<'static, Sqlite>> for Inner {
    fn from(conn: Transaction<'static, Sqlite>) -> Self {
        Self::SqliteTransaction(conn)
    }
}

impl From<PoolConnection<Postgres>> for Inner {
    fn from(conn: PoolConnection<Postgres>) -> Self {
        Self::Postgres(conn)
    }
}

impl From<Transaction<'static, Postgres>> for Inner {
    fn from(conn: Transaction<'static, Postgres>) -> Self {
        Self::PostgresTransaction(conn)
    }
}

impl Conn {
    /// A connection whose statements are counted by `count`. The BEGIN of a transaction is counted
    /// already.
    pub(crate) fn new(inner: impl Into<Inner>, count: StatementCount) -> Self {
        let inner = inner.into();
        if matches!(inner, Inner::SqliteTransaction(_) | Inner::PostgresTransaction(_)) {
            count.add();
        }
        Self { inner, count, lender: None, _admission: None }
    }

    /// The connection of a SQLite reader.
    pub(crate) fn admitted(self, admission: Admission) -> Self {
        Self { _admission: Some(admission), ..self }
    }

    /// A connection to PostgreSQL, or a transaction on one.
    pub(crate) fn lent((inner, lender): (impl Into<Inner>, Lender), count: StatementCount) -> Self {
        Self { lender: Some(lender), ..Self::new(inner, count) }
    }

    /// Counts a statement, and returns where to send it.
    fn send(&mut self, sql: &'static str) -> (Target<'_>, Statement<'_>) {
        self.count.add();
        let target = match &mut self.inner {
            Inner::Sqlite(conn) => Target::Sqlite(conn),
            Inner::SqliteTransaction(conn) => Target::Sqlite(conn),
            Inner::Postgres(conn) => Target::Postgres(conn),
            Inner::PostgresTransaction(conn) => Target::Postgres(conn),
        };
        (target, Statement { sql, lender: self.lender.as_ref() })
    }

    /// Which database the connection leads to.
    pub fn backend(&self) -> Backend {
        match self.inner {
            Inner::Sqlite(_) | Inner::SqliteTransaction(_) => Backend::Sqlite,
            Inner::Postgres(_) | Inner::PostgresTransaction(_) => Backend::Postgres,
        }
    }

    /// Picks the text for this database from two equivalent ones, for when no single text works on
    /// both.
    pub fn either(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.backend() {
            Backend::Sqlite => sqlite,
            Backend::Postgres => postgres,
        }
    }

    /// The database's own time, in milliseconds since the Unix epoch. It is the same for every
    /// node.
    pub async fn now_ms(&mut self) -> Result<i64> {
        let sql = self.either(
            "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        );
        let (now,) = self.one(sql, &[]).await?;
        Ok(now)
    }

    /// All rows of the result.
    pub async fn all<T: FromRow>(
        &mut self,
        sql: &'static str,
        binds: &[Bind<'_>],
    ) -> Result<Vec<T>> {
        check(binds)?;
        let (target, statement) = self.send(sql);
        let reading = Box::pin(async {
            let mut found = Vec::new();
            match target {
                Target::Sqlite(conn) => {
                    let mut rows = sqlite_query(sql, binds).fetch(conn);
                    while let Some(row) = rows.try_next().await? {
                        found.push(T::from_row(&Row::Sqlite(row))?);
                    }
                }
                Target::Postgres(conn) => {
                    let mut rows = postgres_query(sql, binds).fetch(conn);
                    while let Some(row) = rows.try_next().await? {
                        found.push(T::from_row(&Row::Postgres(row))?);
                    }
                }
            }
            Ok(found)
        });
        statement.answer(reading, |found| Some(found.len() as u64)).await
    }

    /// The first row of the result, if there is one.
    pub async fn optional<T: FromRow>(
        &mut self,
        sql: &'static str,
        binds: &[Bind<'_>],
    ) -> Result<Option<T>> {
        check(binds)?;
        let (target, statement) = self.send(sql);
        let reading = Box::pin(async {
            Ok(match target {
                Target::Sqlite(conn) => {
                    sqlite_query(sql, binds).fetch_optional(conn).await?.map(Row::Sqlite)
                }
                Target::Postgres(conn) => {
                    postgres_query(sql, binds).fetch_optional(conn).await?.map(Row::Postgres)
                }
            })
        });
        let row = statement.answer(reading, |row| Some(row.is_some().into())).await?;
        row.map(|row| T::from_row(&row)).transpose()
    }

    /// The row of a statement that always returns one.
    pub async fn one<T: FromRow>(&mut self, sql: &'static str, binds: &[Bind<'_>]) -> Result<T> {
        self.optional(sql, binds).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Runs a statement that returns no rows, and returns how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, binds: &[Bind<'_>]) -> Result<u64> {
        check(binds)?;
        let (target, statement) = self.send(sql);
        let changing = Box::pin(async {
            Ok(match target {
                Target::Sqlite(conn) => {
                    sqlite_query(sql, binds).execute(conn).await?.rows_affected()
                }
                Target::Postgres(conn) => {
                    postgres_query(sql, binds).execute(conn).await?.rows_affected()
                }
            })
        });
        statement.answer(changing, |changed| Some(*changed)).await
    }

    /// Commits a transaction. Does nothing on a connection outside a transaction.
    pub async fn commit(self) -> Result<()> {
        let statement = Statement { sql: "COMMIT", lender: self.lender.as_ref() };
        match self.inner {
            Inner::Sqlite(_) | Inner::Postgres(_) => return Ok(()),
            Inner::SqliteTransaction(transaction) => {
                let committing = Box::pin(async { Ok(transaction.commit().await?) });
                statement.answer(committing, |()| None).await?;
            }
            Inner::PostgresTransaction(transaction) => {
                let committing = Box::pin(async { Ok(transaction.commit().await?) });
                statement.answer(committing, |()| None).await?;
            }
        }
        self.count.add();
        Ok(())
    }
}

/// A value bound to a statement.
#[derive(Clone, Debug)]
pub enum Bind<'a> {
    /// A number, a time in milliseconds, or a boolean as 0 or 1.
    Int(Option<i64>),
    /// Text, or JSON as text.
    Text(Option<&'a str>),
    /// A list, as a JSON array: see [`Bind::list`].
    List(String),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Bind<'_> {
    /// A list, bound as one JSON array for `json_each`.
    pub fn list<T: serde::Serialize>(items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<T> = items.into_iter().collect();
        // Numbers and strings always serialize.
        Self::List(serde_json::to_string(&items).unwrap_or_default())
    }
}

impl From<i64> for Bind<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Bind<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Bind<'_> {
    fn from(value: bool) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl<'a> From<&'a str> for Bind<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Bind<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Bind<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<&'a [u8]> for Bind<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// Refuses texts with a null character, which PostgreSQL cannot store. This holds for both
/// databases, and nothing has been sent yet.
fn check(binds: &[Bind<'_>]) -> Result<()> {
    let has_null = binds.iter().any(|bind| match bind {
        Bind::Text(text) => text.is_some_and(|text| text.contains('\0')),
        Bind::List(json) => holds_null(json),
        Bind::Int(_) | Bind::Bytes(_) => false,
    });
    if has_null {
        return Err(Error::Null);
    }
    Ok(())
}

/// Whether a text in this JSON contains a null character, which JSON escapes as `\u0000`. After a
/// backslash that is itself escaped, the same characters stand for themselves.
fn holds_null(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json.get(..at).unwrap_or_default();
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        backslashes % 2 == 0
    })
}

fn sqlite_query<'q>(
    sql: &'static str,
    binds: &'q [Bind<'q>],
) -> Query<'q, Sqlite, SqliteArguments> {
    binds.iter().fold(sqlx::query(sql), |query, bind| match bind {
        Bind::Int(value) => query.bind(*value),
        Bind::Text(value) => query.bind(*value),
        Bind::List(value) => query.bind(value.as_str()),
        Bind::Bytes(value) => query.bind(*value),
    })
}

fn postgres_query<'q>(
    sql: &'static str,
    binds: &'q [Bind<'q>],
) -> Query<'q, Postgres, PgArguments> {
    binds.iter().fold(sqlx::query(sql), |query, bind| match bind {
        Bind::Int(value) => query.bind(*value),
        Bind::Text(value) => query.bind(*value),
        Bind::List(value) => query.bind(value.as_str()),
        Bind::Bytes(value) => query.bind(*value),
    })
}

/// A row of either database. Columns are read by their index.
#[derive(Debug)]
pub enum Row {
    /// A row from SQLite.
    Sqlite(SqliteRow),
    /// A row from PostgreSQL.
    Postgres(PgRow),
}

impl Row {
    /// The value of the column at `index`, counted from zero.
    pub fn get<T: Value>(&self, index: usize) -> Result<T> {
        T::get(self, index)
    }
}

/// A type that a column can be read as.
pub trait Value: Sized {
    /// Reads the column at `index`.
    fn get(row: &Row, index: usize) -> Result<Self>;
}

macro_rules! column_value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn get(row: &Row, index: usize) -> Result<Self> {
                Ok(match row {
                    Row::Sqlite(row) => row.try_get(index)?,
                    Row::Postgres(row) => row.try_get(index)?,
                })
            }
        }
    )*};
}

column_value!(i64, Option<i64>, String, Option<String>, Vec<u8>);

impl Value for bool {
    fn get(row: &Row, index: usize) -> Result<Self> {
        Ok(i64::get(row, index)? != 0)
    }
}

/// A type that a whole row can be read into.
pub trait FromRow: Sized {
    /// Reads the row.
    fn from_row(row: &Row) -> Result<Self>;
}

macro_rules! from_row_for_tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Value),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row) -> Result<Self> {
                Ok(($(row.get::<$name>($index)?,)+))
            }
        }
    )*};
}

from_row_for_tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_found_in_lists_and_what_looks_like_them_is_not() {
        for (text, expected) in [
            ("a\0b", true),
            ("\\\0", true),
            ("\\u0000", false),
            ("\\\\u0000", false),
            ("u0000", false),
        ] {
            let Bind::List(json) = Bind::list([text]) else { panic!("a list") };
            assert_eq!(holds_null(&json), expected, "{json}");
        }
    }
}
