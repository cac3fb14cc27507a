//! Deactivating an account.
//!
//! The account is deactivated first, if the request did not get that far. If erasure was asked for,
//! the user is marked as erased, and their password, profile, account data and filters are deleted.
//! Finally they leave their rooms, which also rejects invites and takes back knocks.

use std::sync::Arc;

use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};
use stoa_accounts::{Devices, Failure, Users};
use stoa_base::{Actor, RoomNid};
use stoa_cluster::{Freshness, Job, JobError, RunningJob, Step, StepFuture};
use stoa_rooms::{MemberProfile, MembershipChange, RoomError, Rooms};
use stoa_storage::repo::jobs::JobProgress;

/// The name of this kind of job.
pub(crate) const KIND: &str = "deactivate_account";

/// How many rooms the user leaves in one step. Each is an append of its own.
const ROOMS_A_STEP: usize = 10;

/// The parameters of the job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parameters {
    /// The user whose account is deactivated.
    pub(crate) user_id: OwnedUserId,
    /// Whether the user is erased.
    pub(crate) erase: bool,
}

/// Where the next step continues.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// User data remains to be deleted.
    Data,
    /// Rooms after this one may remain. `failed` of those before it could not be left.
    Rooms { after: RoomNid, failed: usize },
}

const FIRST_ROOM: Place = Place::Rooms { after: RoomNid(0), failed: 0 };

/// The job, with what it needs.
#[derive(Debug)]
pub(crate) struct DeactivateAccount {
    pub(crate) users: Arc<Users>,
    pub(crate) devices: Arc<Devices>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) freshness: Freshness,
}

impl Job for DeactivateAccount {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step<'a>(&'a self, job: &'a RunningJob) -> StepFuture<'a> {
        Box::pin(self.next(job))
    }
}

impl DeactivateAccount {
    async fn next(&self, job: &RunningJob) -> Result<Step, JobError> {
        let parameters: Parameters =
            serde_json::from_str(&job.row.parameters).map_err(JobError::never)?;
        let place: Option<Place> = match &job.row.cursor {
            Some(cursor) => Some(serde_json::from_str(cursor).map_err(JobError::never)?),
            None => None,
        };
        let user_id = &*parameters.user_id;
        match place {
            None => self.close(job, user_id, parameters.erase).await,
            Some(Place::Data) => self.delete_data(job, user_id).await,
            Some(Place::Rooms { after, failed }) => {
                self.leave_rooms(job, user_id, after, failed).await
            }
        }
    }

    async fn close(
        &self,
        job: &RunningJob,
        user_id: &UserId,
        erase: bool,
    ) -> Result<Step, JobError> {
        let user = self.users.find(user_id).await.map_err(failure)?;
        let user = user.ok_or_else(|| JobError::never("there is no such user"))?;
        let devices = self.devices.list(user_id).await.map_err(failure)?;
        if !user.is_deactivated || !devices.is_empty() {
            let actor = UserId::parse(&*job.row.actor).map_err(JobError::never)?;
            self.users.deactivate(&Actor::user(&actor), user_id).await.map_err(failure)?;
        }
        self.users.end_interactive_auth(&job.fence, user_id).await.map_err(failure)?;
        if erase {
            self.users.mark_erased(&job.fence, user_id).await.map_err(failure)?;
        }
        let rooms = count(self.rooms_of(user_id).await?.len());
        let progress = JobProgress {
            done: job.row.progress.done,
            total: job.row.progress.done + rooms,
            text: "the account is deactivated".to_owned(),
        };
        more(progress, if erase { Place::Data } else { FIRST_ROOM })
    }

    async fn delete_data(&self, job: &RunningJob, user_id: &UserId) -> Result<Step, JobError> {
        let is_more = self.users.delete_some_data(&job.fence, user_id).await.map_err(failure)?;
        let text = "the user's data is being deleted".to_owned();
        let progress = JobProgress { text, ..job.row.progress.clone() };
        more(progress, if is_more { Place::Data } else { FIRST_ROOM })
    }

    async fn leave_rooms(
        &self,
        job: &RunningJob,
        user_id: &UserId,
        after: RoomNid,
        mut failed: usize,
    ) -> Result<Step, JobError> {
        let rooms = self.rooms_of(user_id).await?;
        let ahead = || rooms.iter().copied().filter(|room| *room > after);
        let Some(last) = ahead().take(ROOMS_A_STEP).last() else {
            return if failed == 0 {
                Ok(Step::Done(format!("rooms that the user has left: {}", job.row.progress.done)))
            } else {
                Err(JobError::later(format_args!("rooms that could not be left: {failed}")))
            };
        };
        let mut left = 0;
        for room in ahead().take(ROOMS_A_STEP) {
            match self.leave(user_id, room).await {
                Ok(()) => left += 1,
                // A failure in one room must not keep the job from leaving the others.
                Err(error) => {
                    tracing::warn!(user = %user_id, room = room.0, %error, "a room was not left");
                    failed += 1;
                }
            }
        }
        let total = job.row.progress.total;
        let done = total - count(rooms.len() - left);
        let text = format!("rooms that the user has left: {done} of {total}");
        more(JobProgress { done, total, text }, Place::Rooms { after: last, failed })
    }

    async fn leave(&self, user_id: &UserId, room: RoomNid) -> Result<(), RoomError> {
        let room = self.rooms.known.by_nid(room).await?;
        let (actor, profile) = (Actor::user(user_id), MemberProfile::default());
        let change = MembershipChange::Leave;
        self.rooms.membership_changes.change(&actor, None, &room, change, &profile, None).await?;
        Ok(())
    }

    /// The rooms that the user still has to leave, in order.
    async fn rooms_of(&self, user_id: &UserId) -> Result<Vec<RoomNid>, JobError> {
        self.freshness.current().await?;
        let memberships = self.rooms.memberships.of(user_id).await.map_err(JobError::later)?;
        let there = memberships.values().filter(|row| {
            use MembershipState::{Invite, Join, Knock};
            matches!(row.membership, Join | Invite | Knock)
        });
        let mut rooms: Vec<RoomNid> = there.map(|row| row.room).collect();
        rooms.sort_unstable();
        Ok(rooms)
    }
}

fn more(progress: JobProgress, place: Place) -> Result<Step, JobError> {
    let cursor = serde_json::to_string(&place).map_err(JobError::never)?;
    Ok(Step::More { progress, cursor: Some(cursor) })
}

fn failure(error: Failure) -> JobError {
    JobError::later(error)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
