//! Closing an account for good, with all that follows from it.

use std::time::Duration;

use ruma::OwnedUserId;
use stoa_accounts::Accounts;
use stoa_base::Actor;
use stoa_cluster::Jobs;

use crate::{
    http::{Error, Result},
    jobs::deactivate_account::{KIND, Parameters},
};

/// How long the job leaves to the request to close the account itself.
const HEAD_START: Duration = Duration::from_secs(10);

/// Closes an account: no token of it works any more when this returns. Its rooms are left, and what
/// is to be erased goes, by a job afterwards.
///
/// The job is noted first, and closes the account itself where this does not come so far, because the
/// client hangs up or the node ends. So either nothing happens or everything does.
pub(crate) async fn deactivate_account(
    accounts: &Accounts,
    jobs: &Jobs,
    actor: &Actor,
    user_id: OwnedUserId,
    erase: bool,
) -> Result<()> {
    let parameters = Parameters { user_id, erase };
    let json = serde_json::to_string(&parameters).map_err(Error::internal)?;
    let job = jobs.enqueue(actor, KIND, &json, HEAD_START).await?;
    accounts.deactivate(actor, &parameters.user_id).await?;
    if let Err(error) = jobs.hasten(job).await {
        tracing::warn!(%error, job, "a job begins somewhat later");
    }
    Ok(())
}
