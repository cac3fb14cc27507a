//! Jobs: work that outlives the request that asked for it and the node that began it.
//!
//! A job is a row, and a [`Job`] implements a kind of job. Any node can run it, under a lease, in
//! short steps: each step reads the current state, does a little, and reports how far it came.
//! Between two steps the job can be cancelled or its node can stop; if the node vanishes, another
//! one continues when the lease has expired. So a step can run twice, even on two nodes at the same
//! time if one of them was frozen, and the result must be the same.
//!
//! A job that fails is retried after a pause that grows each time, and is eventually given up. The
//! same goes for a job whose step panics or takes its node down. A node does not touch jobs of
//! kinds that it does not know: they belong to a newer version.

mod runner;

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc, time::Duration};

use stoa_base::Actor;
use stoa_storage::{
    Backend, Error, Result, Store,
    repo::{
        jobs::{self, JobProgress, JobRow, JobState, NewJob},
        leases::Fence,
    },
};
use tokio::sync::Notify;

use crate::leases::Leases;

/// How many unfinished jobs of one kind a user may have.
const MAX_UNFINISHED: i64 = 10;

/// The maximum size of a job's parameters, in bytes.
const MAX_PARAMETERS: usize = 64 * 1_024;

/// The maximum number of jobs to show.
const MAX_SHOWN: i64 = 200;

/// How long a finished job is kept for admins to see.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// What a kind of job does.
pub trait Job: Debug + Send + Sync + 'static {
    /// The name of the kind, as stored in the database.
    fn kind(&self) -> &'static str;

    /// Takes the next step, which should take a second at most and never hold the log lock for more
    /// than 20 ms at a time. The step can be dropped at any await point, and run again.
    fn step<'a>(&'a self, job: &'a RunningJob) -> StepFuture<'a>;
}

/// The result of a step.
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<Step, JobError>> + Send + 'a>>;

/// A job that this node is running.
#[derive(Clone, Debug)]
pub struct RunningJob {
    /// The job as it was before this step.
    pub row: JobRow,
    /// Must be checked in each transaction that may not happen once another node has taken over the
    /// job.
    pub fence: Fence,
}

/// What a step achieved.
#[derive(Clone, Debug)]
pub enum Step {
    /// There is more to do.
    More {
        /// The job's progress.
        progress: JobProgress,
        /// Passed to the next step, to find the place where it continues. After a failure the job
        /// starts over without one.
        cursor: Option<String>,
    },
    /// There is nothing more to do. The text tells an admin what was done.
    Done(String),
}

/// Why a step failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JobError {
    /// A retry may succeed.
    #[error("{0}")]
    Later(String),
    /// A retry cannot succeed.
    #[error("{0}")]
    Never(String),
}

impl JobError {
    /// A failure that a retry may fix.
    pub fn later(why: impl std::fmt::Display) -> Self {
        Self::Later(why.to_string())
    }

    /// A failure that no retry can fix.
    pub fn never(why: impl std::fmt::Display) -> Self {
        Self::Never(why.to_string())
    }
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        Self::later(error)
    }
}

/// How jobs are run.
#[derive(Clone, Debug)]
pub struct JobsOptions {
    /// How many jobs a node runs at the same time.
    pub at_once: usize,
    /// How often a node looks for jobs that it was not told about.
    pub interval: Duration,
    /// How long until another node takes over the jobs of one that vanished.
    pub ttl: Duration,
    /// How often a job is begun without making progress before it is given up.
    pub attempts: i64,
    /// The pause after the first failure. It doubles each time.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for JobsOptions {
    fn default() -> Self {
        Self {
            at_once: 2,
            interval: Duration::from_secs(5),
            ttl: Duration::from_secs(20),
            attempts: 8,
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(300),
        }
    }
}

/// Why a job was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The user has too many unfinished jobs of this kind.
    #[error("too many jobs of this kind are waiting")]
    TooMany,
    /// The parameters are too large.
    #[error("the parameters of the job are too large")]
    TooLarge,
    /// A database error.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// The jobs of the deployment, as one node sees them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    leases: Leases,
    options: JobsOptions,
    /// Tells this node's runner that there may be work.
    news: Notify,
}

impl Jobs {
    /// The jobs in `store`.
    pub fn new(store: Store, leases: Leases, options: JobsOptions) -> Self {
        Self(Arc::new(Shared { store, leases, options, news: Notify::new() }))
    }

    /// Enqueues a job, and returns its number. It begins after `delay`, or when [`Jobs::hasten`] is
    /// called.
    pub async fn enqueue(
        &self,
        actor: &Actor,
        kind: &str,
        parameters: &str,
        delay: Duration,
    ) -> Result<i64, EnqueueError> {
        if parameters.len() > MAX_PARAMETERS {
            return Err(EnqueueError::TooLarge);
        }
        let delay_ms = to_ms(delay);
        let job = NewJob { kind, parameters, actor: actor.user_id.as_str(), delay_ms };
        let mut conn = self.0.store.write().await?;
        let id = jobs::insert(&mut conn, &job, MAX_UNFINISHED).await?;
        let id = id.ok_or(EnqueueError::TooMany)?;
        conn.commit().await?;
        tracing::info!(job = id, kind, by = %actor.user_id, "a job was enqueued");
        self.0.news.notify_one();
        Ok(id)
    }

    /// Ends the delay of a job that has not begun yet.
    pub async fn hasten(&self, id: i64) -> Result<()> {
        let mut conn = self.0.store.write().await?;
        jobs::hasten(&mut conn, id).await?;
        conn.commit().await?;
        self.0.news.notify_one();
        Ok(())
    }

    /// Cancels a job. A running job ends after its current step. Returns whether there was such a
    /// job that had not ended.
    pub async fn cancel(&self, id: i64) -> Result<bool> {
        let mut conn = self.0.store.write().await?;
        let asked = jobs::cancel(&mut conn, id).await?;
        conn.commit().await?;
        self.0.news.notify_one();
        Ok(asked)
    }

    /// Makes a failed or cancelled job start over. Returns whether there was such a job.
    pub async fn restart(&self, id: i64) -> Result<bool> {
        let mut conn = self.0.store.write().await?;
        let restarted = jobs::restart(&mut conn, id).await?;
        conn.commit().await?;
        self.0.news.notify_one();
        Ok(restarted)
    }

    /// The job with this number. Jobs that ended long ago are deleted.
    pub async fn find(&self, id: i64) -> Result<Option<JobRow>> {
        jobs::find(&mut self.0.store.read().await?, id).await
    }

    /// The newest jobs, newest first.
    pub async fn list(&self) -> Result<Vec<JobRow>> {
        jobs::newest(&mut self.0.store.read().await?, MAX_SHOWN).await
    }

    /// Deletes the jobs that ended long ago, and counts the remaining ones.
    pub async fn housekeep(&self) -> Result<()> {
        let mut conn = self.0.store.write().await?;
        jobs::prune(&mut conn, KEPT_MS).await?;
        conn.commit().await?;
        let counts = jobs::count_by_state(&mut self.0.store.read().await?).await?;
        for state in JobState::ALL {
            let count = counts.iter().find(|count| count.0 == state).map_or(0, |count| count.1);
            let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            metrics::gauge!("stoa_jobs", "state" => state.as_str()).set(count);
        }
        Ok(())
    }

    /// How often to look for jobs that this node was not told about. On SQLite there is no other
    /// node, so there should be none.
    fn interval(&self) -> Duration {
        match self.0.store.backend() {
            Backend::Sqlite => Duration::from_secs(60),
            Backend::Postgres => self.0.options.interval,
        }
    }
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
