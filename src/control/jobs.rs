//! What an admin sees of jobs, and does with them.

use serde::{Deserialize, Serialize};
use stoa_cluster::Jobs;
use stoa_storage::repo::jobs::JobRow;

use super::Reply;

/// What is to be done with jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobsCommand {
    /// Say which there are.
    List,
    /// Say how one is.
    Show(i64),
    /// Have one end.
    Cancel(i64),
    /// Have one that failed or was cancelled begin anew.
    Restart(i64),
}

/// A job, as an admin sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub id: i64,
    /// What kind of job it is.
    pub kind: String,
    /// What is to be done, as JSON.
    pub parameters: String,
    /// Who asked for it.
    pub actor: String,
    /// How it stands, in a word.
    pub state: String,
    /// How much is done.
    pub done: i64,
    /// Of how much.
    pub total: i64,
    /// What that means.
    pub progress: String,
    /// How often it was begun since it last came further.
    pub attempts: i64,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it ended, likewise.
    pub finished_ms: Option<i64>,
    /// Why the last attempt failed.
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
                    Some(_) => Reply::Failed(format!("job {id} has ended already")),
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
