//! Runs jobs on this node.

use std::{sync::Arc, time::Duration};

use stoa_storage::{
    Conn, Error, Result,
    repo::jobs::{self, JobRow, JobState},
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::{Job, JobError, Jobs, RunningJob, Step, to_ms};
use crate::leases::Lease;

/// How many jobs are considered at a time.
const LOOK: i64 = 32;

/// How many bytes of an error are stored.
const MAX_ERROR: usize = 1_000;

impl Jobs {
    /// Runs jobs of these kinds. Never returns; if it is dropped, other nodes take over its jobs.
    pub async fn run(self, kinds: Vec<Arc<dyn Job>>) {
        let mut running = JoinSet::new();
        loop {
            let pause = match self.begin_due(&kinds, &mut running).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "looking for jobs failed");
                    self.interval()
                }
            };
            tokio::select! {
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = running.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the runner of a job panicked");
                    }
                }
            }
        }
    }

    /// Begins jobs as long as this node has capacity. Returns the time after which to look again.
    async fn begin_due(
        &self,
        kinds: &[Arc<dyn Job>],
        running: &mut JoinSet<()>,
    ) -> Result<Duration> {
        if running.len() >= self.0.options.at_once {
            return Ok(self.interval());
        }
        let names: Vec<&str> = kinds.iter().map(|kind| kind.kind()).collect();
        let upcoming = {
            let mut conn = self.0.store.read().await?;
            jobs::upcoming(&mut conn, &names, LOOK).await?
        };
        for (id, wait_ms) in upcoming {
            if let Ok(wait_ms @ 1..) = u64::try_from(wait_ms) {
                return Ok(Duration::from_millis(wait_ms).min(self.interval()));
            }
            if running.len() >= self.0.options.at_once {
                break;
            }
            if let Some((row, lease)) = self.begin(id).await?
                && let Some(kind) = kinds.iter().find(|kind| kind.kind() == row.kind)
            {
                let run = Run { jobs: self.clone(), kind: Arc::clone(kind), lease };
                running.spawn(run.complete(row));
            }
        }
        Ok(self.interval())
    }

    /// Begins a job, unless another node got it first.
    async fn begin(&self, id: i64) -> Result<Option<(JobRow, Lease)>> {
        let ttl = self.0.options.ttl;
        let Some(lease) = self.0.leases.acquire_share(jobs::LEASE, id, ttl).await? else {
            return Ok(None);
        };
        let mut conn = self.0.store.write().await?;
        lease.fence().check(&mut conn).await?;
        let row = jobs::begin(&mut conn, id).await?;
        conn.commit().await?;
        Ok(row.map(|row| (row, lease)))
    }

    fn pause_after(&self, attempts: i64) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
        let pause = self.0.options.pause.saturating_mul(2_u32.saturating_pow(doublings));
        pause.min(self.0.options.longest_pause)
    }
}

/// A job that this node is running.
struct Run {
    jobs: Jobs,
    kind: Arc<dyn Job>,
    lease: Lease,
}

/// The outcome of a step, for the runner.
enum Outcome {
    Step(Step),
    Failed(JobError),
    /// Another node may have taken over the job.
    LeaseLost,
}

impl Run {
    async fn complete(self, mut row: JobRow) {
        let (id, kind) = (row.id, self.kind.kind());
        tracing::info!(job = id, kind, attempt = row.attempts, "a job begins");
        let ended = loop {
            match self.next(row).await {
                Ok(Some(next)) => row = next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match ended {
            // The node that continues repeats whatever was not recorded.
            Err(error) => {
                tracing::warn!(job = id, kind, %error, "a job was interrupted; a node continues it later");
            }
            Ok(()) => {
                if let Err(error) = self.lease.release().await {
                    tracing::warn!(job = id, kind, %error, "the lease of a job was not released");
                }
            }
        }
        self.jobs.0.news.notify_one();
    }

    /// Takes the job's next step, and stores its outcome. Returns the updated job, unless this node
    /// is done with it.
    async fn next(&self, row: JobRow) -> Result<Option<JobRow>> {
        let (id, attempts) = (row.id, row.attempts);
        if row.cancel_requested {
            return self.finish(id, JobState::Cancelled, &row.progress.text).await;
        }
        if attempts > self.jobs.0.options.attempts {
            // The job was begun again and again and no attempt reported a failure, so the nodes
            // that ran it went down.
            let why = "the server that ran it ended each time";
            return self.finish(id, JobState::Failed, why).await;
        }
        match self.step(row).await {
            Outcome::LeaseLost => Err(Error::LeaseLost),
            Outcome::Step(Step::Done(text)) => self.finish(id, JobState::Done, &text).await,
            Outcome::Step(Step::More { progress, cursor }) => {
                let mut conn = self.write().await?;
                let row = jobs::advance(&mut conn, id, &progress, cursor.as_deref()).await?;
                conn.commit().await?;
                Ok(row)
            }
            Outcome::Failed(error) => self.failed(id, attempts, &error).await,
        }
    }

    /// Runs the step in a task of its own, so that a panic ends nothing else.
    async fn step(&self, row: JobRow) -> Outcome {
        let job = RunningJob { row, fence: self.lease.fence().clone() };
        let kind = Arc::clone(&self.kind);
        let began = Instant::now();
        let span = tracing::debug_span!("job", id = job.row.id, kind = kind.kind());
        let step = async move { kind.step(&job).await }.instrument(span);
        let step = AbortOnDropHandle::new(tokio::spawn(step));
        let taken = tokio::select! {
            biased;
            () = self.lease.ended() => return Outcome::LeaseLost,
            taken = step => taken,
        };
        let kind = self.kind.kind();
        metrics::histogram!("stoa_job_step_seconds", "kind" => kind).record(began.elapsed());
        match taken {
            Ok(Ok(step)) => Outcome::Step(step),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(error) => {
                tracing::error!(kind, %error, "a step of a job panicked");
                Outcome::Failed(JobError::later("a step panicked"))
            }
        }
    }

    async fn failed(&self, id: i64, attempts: i64, error: &JobError) -> Result<Option<JobRow>> {
        let mut why = error.to_string();
        why.truncate(why.floor_char_boundary(MAX_ERROR));
        if matches!(error, JobError::Never(_)) || attempts >= self.jobs.0.options.attempts {
            return self.finish(id, JobState::Failed, &why).await;
        }
        let pause = self.jobs.pause_after(attempts);
        let mut conn = self.write().await?;
        jobs::retry(&mut conn, id, to_ms(pause), &why).await?;
        conn.commit().await?;
        let kind = self.kind.kind();
        tracing::warn!(job = id, kind, error = why, attempts, ?pause, "a job is tried again later");
        Ok(None)
    }

    async fn finish(&self, id: i64, state: JobState, text: &str) -> Result<Option<JobRow>> {
        let mut conn = self.write().await?;
        let finished = jobs::finish(&mut conn, id, state, text).await?;
        conn.commit().await?;
        if finished {
            let (kind, state) = (self.kind.kind(), state.as_str());
            tracing::info!(job = id, kind, state, text, "a job has ended");
            metrics::counter!("stoa_jobs_ended_total", "kind" => kind, "state" => state)
                .increment(1);
        }
        Ok(None)
    }

    /// A transaction that is refused once another node may have the job.
    async fn write(&self) -> Result<Conn> {
        if !self.lease.is_held() {
            return Err(Error::LeaseLost);
        }
        let mut conn = self.jobs.0.store.write().await?;
        self.lease.fence().check(&mut conn).await?;
        Ok(conn)
    }
}
