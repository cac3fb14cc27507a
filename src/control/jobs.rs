//! Listing and changing jobs for an admin.

use serde::{Deserialize, Serialize};
use stoa_cluster::Jobs;
use stoa_storage::repo::jobs::JobRow;

use super::Reply;

/// A request about jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobsCommand {
    /// List the newest jobs.
    List,
    /// Show one job.
    Show(i64),
    /// Cancel a job.
    Cancel(i64),
    /// Start a failed or cancelled job again.
    Restart(i64),
}

/// A job, as an admin sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub id: i64,
    /// What kind of job it is.
    pub kind: String,
    /// Its parameters, as JSON.
    pub parameters: String,
    /// The user who started it.
    pub actor: String,
    /// Its state, in a word.
    pub state: String,
    /// How many units are done.
    pub done: i64,
    /// How many units there are.
    pub total: i64,
    /// The progress as a text.
    pub progress: String,
    /// The attempts since the last progress.
    pub attempts: i64,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it ended, likewise.
    pub finished_ms: Option<i64>,
    /// The error of the last failed attempt.
    pub error: Option<String>,
}

impl From<JobRow> for JobView {
    fn from(row: JobRow) -> Self {
        let state = match (row.finished_ms, row.cancel_requested) {
            (None, true) => "stopping",
            _ => row.state.as_str(),
        };
        Self {
            id: row.id,
            kind: row.kind,
            parameters: row.parameters,
            actor: row.actor,
            state: state.to_owned(),
            done: row.progress.done,
            total: row.progress.total,
            progress: row.progress.text,
            attempts: row.attempts,
            created_ms: row.created_ms,
            finished_ms: row.finished_ms,
            error: row.error,
        }
    }
}

impl JobsCommand {
    pub(super) async fn run(self, jobs: &Jobs) -> Reply {
        match self.try_run(jobs).await {
            Ok(reply) => reply,
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    async fn try_run(self, jobs: &Jobs) -> stoa_storage::Result<Reply> {
        let no_job = |id| Reply::Failed(format!("there is no job {id}"));
        Ok(match self {
            Self::List => Reply::Jobs(jobs.list().await?.into_iter().map(JobView::from).collect()),
            Self::Show(id) => match jobs.find(id).await? {
                Some(row) => Reply::Jobs(vec![row.into()]),
                None => no_job(id),
            },
            Self::Cancel(id) => {
                let has_cancelled = jobs.cancel(id).await?;
                match jobs.find(id).await? {
                    Some(row) if has_cancelled => Reply::Jobs(vec![row.into()]),
                    Some(_) => Reply::Failed(format!("job {id} has already ended")),
                    None => no_job(id),
                }
            }
            Self::Restart(id) => {
                let has_restarted = jobs.restart(id).await?;
                match jobs.find(id).await? {
                    Some(row) if has_restarted => Reply::Jobs(vec![row.into()]),
                    Some(_) => {
                        Reply::Failed(format!("job {id} has neither failed nor been cancelled"))
                    }
                    None => no_job(id),
                }
            }
        })
    }
}
