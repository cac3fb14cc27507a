//! Changing a profile.

use serde_json::Value;
use stoa_accounts::ProfileError;
use stoa_base::Actor;

use crate::app::AppState;

/// Sets a field of the actor's profile, or deletes it.
pub(crate) async fn set_profile_field(
    state: &AppState,
    actor: &Actor,
    field: &str,
    value: Option<&Value>,
) -> Result<(), ProfileError> {
    state.accounts.set_profile_field(actor, field, value).await?;
    Ok(())
}
