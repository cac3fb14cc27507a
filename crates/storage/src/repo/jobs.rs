//! Jobs: work that outlives the request that asked for it and the node that began it. All times are
//! the database's own.
//!
//! A node that runs a job holds the lease [`LEASE`] with the job's number as its partition, and
//! checks it in each transaction that writes to the job's row.

use crate::{Bind, Conn, Error, FromRow, Result, Row};

/// The name of the leases that jobs run under.
pub const LEASE: &str = "job";

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It is waiting to begin, or to begin again.
    Waiting,
    /// A node is running it, or vanished while doing so.
    Running,
    /// It is done.
    Done,
    /// It failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| Error::corrupt(format_args!("a job is {word}")))
    }
}

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// The number of the job.
    pub id: i64,
    /// What kind of job it is.
    pub kind: String,
    /// What to do, as JSON.
    pub parameters: String,
    /// The user who asked for it.
    pub actor: String,
    /// When it was created, in milliseconds.
    pub created_ms: i64,
    /// Its state.
    pub state: JobState,
    /// Where its next step continues.
    pub cursor: Option<String>,
    /// How far it has come.
    pub progress: JobProgress,
    /// How many times it has begun since it last made progress.
    pub attempts: i64,
    /// The earliest time to begin it, in milliseconds.
    pub next_attempt_ms: i64,
    /// Whether it was asked to stop.
    pub cancel_requested: bool,
    /// When it ended, in milliseconds.
    pub finished_ms: Option<i64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// How far a job has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// How much is done, in the job's own units.
    pub done: i64,
    /// The total, in the same units.
    pub total: i64,
    /// The progress in words, for an admin.
    pub text: String,
}

impl FromRow for JobRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            parameters: row.get(2)?,
            actor: row.get(3)?,
            created_ms: row.get(4)?,
            state: JobState::read(&row.get::<String>(5)?)?,
            cursor: row.get(6)?,
            progress: JobProgress { done: row.get(7)?, total: row.get(8)?, text: row.get(9)? },
            attempts: row.get(10)?,
            next_attempt_ms: row.get(11)?,
            cancel_requested: row.get(12)?,
            finished_ms: row.get(13)?,
            error: row.get(14)?,
        })
    }
}

/// A job to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewJob<'a> {
    /// What kind of job it is.
    pub kind: &'a str,
    /// What to do, as JSON.
    pub parameters: &'a str,
    /// The user who asks for it.
    pub actor: &'a str,
    /// How long to wait before it begins, in milliseconds.
    pub delay_ms: i64,
}

/// Stores a job, unless the actor already has `limit` unfinished jobs of this kind.
pub async fn insert(conn: &mut Conn, job: &NewJob<'_>, limit: i64) -> Result<Option<i64>> {
    let now_ms = conn.now_ms().await?;
    let inserted: Option<(i64,)> = conn
        .optional(
            "INSERT INTO jobs (kind, parameters, actor, created_ms, state, next_attempt_ms)
             SELECT $1, $2, $3, $4, 'waiting', $5
             WHERE (SELECT COUNT(*) FROM jobs
                 WHERE kind = $1 AND actor = $3 AND finished_ms IS NULL) < $6
             RETURNING id",
            &[
                job.kind.into(),
                job.parameters.into(),
                job.actor.into(),
                now_ms.into(),
                now_ms.saturating_add(job.delay_ms).into(),
                limit.into(),
            ],
        )
        .await?;
    Ok(inserted.map(|(id,)| id))
}

/// The job with this number.
pub async fn find(conn: &mut Conn, id: i64) -> Result<Option<JobRow>> {
    conn.optional(
        "SELECT id, kind, parameters, actor, created_ms, state, cursor, done, total, progress,
             attempts, next_attempt_ms, cancel_requested, finished_ms, error
         FROM jobs WHERE id = $1",
        &[id.into()],
    )
    .await
}

/// The newest jobs, at most `limit`, newest first.
pub async fn newest(conn: &mut Conn, limit: i64) -> Result<Vec<JobRow>> {
    conn.all(
        "SELECT id, kind, parameters, actor, created_ms, state, cursor, done, total, progress,
             attempts, next_attempt_ms, cancel_requested, finished_ms, error
         FROM jobs ORDER BY id DESC LIMIT $1",
        &[limit.into()],
    )
    .await
}

/// The unfinished jobs of these kinds, at most `limit`, each with the milliseconds until it can
/// begin, because it is waiting, or because the node that runs it still holds its lease. Those that
/// can begin first come first.
pub async fn upcoming(conn: &mut Conn, kinds: &[&str], limit: i64) -> Result<Vec<(i64, i64)>> {
    let now_ms = conn.now_ms().await?;
    let rows: Vec<(i64, i64)> = conn
        .all(
            "SELECT id, ready_ms FROM (
                 SELECT j.id AS id, CASE WHEN coalesce(l.expires_ms, 0) > j.next_attempt_ms
                     THEN l.expires_ms ELSE j.next_attempt_ms END AS ready_ms
                 FROM jobs j LEFT JOIN leases l ON l.name = $3 AND l.partition = j.id
                 WHERE j.finished_ms IS NULL AND j.kind IN (SELECT value FROM json_each($1))
             ) AS unfinished
             ORDER BY ready_ms, id LIMIT $2",
            &[Bind::list(kinds), limit.into(), LEASE.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|(id, ready_ms)| (id, ready_ms - now_ms)).collect())
}

/// Begins or continues a job. Returns `None` if it has ended or must wait.
pub async fn begin(conn: &mut Conn, id: i64) -> Result<Option<JobRow>> {
    let now_ms = conn.now_ms().await?;
    conn.optional(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1
         WHERE id = $1 AND finished_ms IS NULL AND next_attempt_ms <= $2
         RETURNING id, kind, parameters, actor, created_ms, state, cursor, done, total, progress,
             attempts, next_attempt_ms, cancel_requested, finished_ms, error",
        &[id.into(), now_ms.into()],
    )
    .await
}

/// Stores a job's progress and where it continues. The amount done never shrinks; when it grows,
/// attempts are counted afresh. Returns the updated job.
pub async fn advance(
    conn: &mut Conn,
    id: i64,
    progress: &JobProgress,
    cursor: Option<&str>,
) -> Result<Option<JobRow>> {
    conn.optional(
        "UPDATE jobs SET cursor = $5, total = $3, progress = $4,
             attempts = CASE WHEN $2 > done THEN 1 ELSE attempts END,
             done = CASE WHEN $2 > done THEN $2 ELSE done END
         WHERE id = $1 AND finished_ms IS NULL
         RETURNING id, kind, parameters, actor, created_ms, state, cursor, done, total, progress,
             attempts, next_attempt_ms, cancel_requested, finished_ms, error",
        &[
            id.into(),
            progress.done.into(),
            progress.total.into(),
            (&progress.text).into(),
            cursor.into(),
        ],
    )
    .await
}

/// Makes a job begin again after `delay_ms`, from its beginning.
pub async fn retry(conn: &mut Conn, id: i64, delay_ms: i64, error: &str) -> Result<()> {
    let next_ms = conn.now_ms().await?.saturating_add(delay_ms);
    conn.execute(
        "UPDATE jobs SET state = 'waiting', cursor = NULL, next_attempt_ms = $2, error = $3
         WHERE id = $1 AND finished_ms IS NULL",
        &[id.into(), next_ms.into(), error.into()],
    )
    .await?;
    Ok(())
}

/// Makes a job that has never begun start at once.
pub async fn hasten(conn: &mut Conn, id: i64) -> Result<()> {
    conn.execute(
        "UPDATE jobs SET next_attempt_ms = created_ms
         WHERE id = $1 AND state = 'waiting' AND attempts = 0",
        &[id.into()],
    )
    .await?;
    Ok(())
}

/// Ends a job as `state`. `text` says how far it came, or why it failed. Returns false if it had
/// already ended.
pub async fn finish(conn: &mut Conn, id: i64, state: JobState, text: &str) -> Result<bool> {
    let now_ms = conn.now_ms().await?;
    let error = (state == JobState::Failed).then_some(text);
    let progress = (state != JobState::Failed).then_some(text);
    let finished = conn
        .execute(
            "UPDATE jobs SET state = $2, finished_ms = $3, cursor = NULL,
                 error = coalesce($4, error), progress = coalesce($5, progress)
             WHERE id = $1 AND finished_ms IS NULL",
            &[id.into(), state.as_str().into(), now_ms.into(), error.into(), progress.into()],
        )
        .await?;
    Ok(finished == 1)
}

/// Cancels a job: a waiting one at once, a running one between two of its steps. Returns false if
/// it had already ended.
pub async fn cancel(conn: &mut Conn, id: i64) -> Result<bool> {
    let now_ms = conn.now_ms().await?;
    let asked = conn
        .execute(
            "UPDATE jobs SET cancel_requested = 1,
                 finished_ms = CASE WHEN state = 'waiting' THEN $2 END,
                 state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END
             WHERE id = $1 AND finished_ms IS NULL",
            &[id.into(), now_ms.into()],
        )
        .await?;
    Ok(asked == 1)
}

/// Makes a failed or cancelled job start over. Returns false if it is in another state.
pub async fn restart(conn: &mut Conn, id: i64) -> Result<bool> {
    let now_ms = conn.now_ms().await?;
    let restarted = conn
        .execute(
            "UPDATE jobs SET state = 'waiting', cursor = NULL, done = 0, total = 0, progress = '',
                 attempts = 0, next_attempt_ms = $2, cancel_requested = 0, finished_ms = NULL,
                 error = NULL
             WHERE id = $1 AND state IN ('failed', 'cancelled')",
            &[id.into(), now_ms.into()],
        )
        .await?;
    Ok(restarted == 1)
}

/// How many jobs there are in each state.
pub async fn count_by_state(conn: &mut Conn) -> Result<Vec<(JobState, i64)>> {
    let rows: Vec<(String, i64)> =
        conn.all("SELECT state, COUNT(*) FROM jobs GROUP BY state", &[]).await?;
    rows.into_iter().map(|(state, count)| Ok((JobState::read(&state)?, count))).collect()
}

/// Deletes the jobs that ended more than `ended_for_ms` ago, and returns how many.
pub async fn prune(conn: &mut Conn, ended_for_ms: i64) -> Result<u64> {
    let before_ms = conn.now_ms().await? - ended_for_ms;
    conn.execute("DELETE FROM jobs WHERE finished_ms < $1", &[before_ms.into()]).await
}
