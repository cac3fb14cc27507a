//! Counts attempts within a time window, across all nodes.

use crate::{Bind, Conn, FromRow, Result, Row};

/// The attempts of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptsRow {
    /// Who is trying, or from which address.
    pub subject: String,
    /// The number of attempts, including this one.
    pub attempts: i64,
    /// When the window began, in milliseconds.
    pub window_start_ms: i64,
}

impl FromRow for AttemptsRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { subject: row.get(0)?, attempts: row.get(1)?, window_start_ms: row.get(2)? })
    }
}

/// Counts one attempt of a subject. If the window began before `oldest_ms`, it is over and a new
/// one begins.
pub async fn count(
    conn: &mut Conn,
    subject: &str,
    now_ms: i64,
    oldest_ms: i64,
) -> Result<AttemptsRow> {
    conn.one(
        "INSERT INTO attempts (subject, attempts, window_start_ms) VALUES ($1, 1, $2)
         ON CONFLICT (subject) DO UPDATE SET
             attempts = CASE WHEN attempts.window_start_ms < $3
                 THEN 1 ELSE attempts.attempts + 1 END,
             window_start_ms = CASE WHEN attempts.window_start_ms < $3
                 THEN $2 ELSE attempts.window_start_ms END
         RETURNING subject, attempts, window_start_ms",
        &[subject.into(), now_ms.into(), oldest_ms.into()],
    )
    .await
}

/// Takes back one attempt of each subject.
pub async fn uncount(conn: &mut Conn, subjects: &[&str]) -> Result<()> {
    conn.execute(
        "UPDATE attempts SET attempts = attempts - 1
         WHERE attempts > 0 AND subject IN (SELECT value FROM json_each($1))",
        &[Bind::list(subjects)],
    )
    .await?;
    Ok(())
}

/// Forgets a subject's attempts.
pub async fn forget(conn: &mut Conn, subject: &str) -> Result<()> {
    conn.execute("DELETE FROM attempts WHERE subject = $1", &[subject.into()]).await?;
    Ok(())
}

/// Deletes windows that began before `oldest_ms`, and returns how many.
pub async fn prune(conn: &mut Conn, oldest_ms: i64) -> Result<u64> {
    conn.execute("DELETE FROM attempts WHERE window_start_ms < $1", &[oldest_ms.into()]).await
}
