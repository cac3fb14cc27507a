//! Closing an account for good, with all that follows from it.

use std::time::Duration;

use ruma::OwnedUserId;
use stoa_accounts::Users;
use stoa_base::Actor;
use stoa_cluster::Jobs;
use stoa_http::{Error, Result};

use crate::jobs::deactivate_account::{KIND, Parameters};

/// For how long the job waits for the request to close the account itself.
const HEAD_START: Duration = Duration::from_secs(10);

/// Closes an account: none of its tokens works any more when this returns. A job then leaves its rooms
/// and erases what is to be erased.
///
/// The job is enqueued first, and closes the account itself if this does not get so far, because the
/// client hangs up or the node ends. So either nothing happens or everything does.
pub(crate) async fn deactivate_account(
    users: &Users,
    jobs: &Jobs,
    actor: &Actor,
    user_id: OwnedUserId,
    erase: bool,
) -> Result<()> {
    let parameters = Parameters { user_id, erase };
    let json = serde_json::to_string(&parameters).map_err(Error::internal)?;
    let job = jobs.enqueue(actor, KIND, &json, HEAD_START).await?;
    users.deactivate(actor, &parameters.user_id).await?;
    if let Err(error) = jobs.hasten(job).await {
        tracing::warn!(%error, job, "a job was not told to begin at once, and begins within seconds");
    }
    Ok(())
}
