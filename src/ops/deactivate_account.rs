//! Deactivating an account.

use std::time::Duration;

use ruma::OwnedUserId;
use stoa_accounts::Users;
use stoa_base::Actor;
use stoa_cluster::Jobs;
use stoa_http::{Error, Result};

use crate::jobs::deactivate_account::{KIND, Parameters};

/// How long the job waits for the request to deactivate the account itself.
const HEAD_START: Duration = Duration::from_secs(10);

/// Deactivates an account: none of its tokens works any more when this returns. A job then leaves
/// the user's rooms and, if asked to, erases the user.
///
/// The job is enqueued first, and deactivates the account itself if this function does not get that
/// far, because the client hangs up or the node dies. So either nothing happens or everything does.
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
