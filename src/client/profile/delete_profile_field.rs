//! `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname>

use axum::extract::State;
use ruma::api::client::profile::delete_profile_field::v3::{Request, Response};

use crate::{
    app::AppState,
    client::own,
    http::{Answer, Result, Ruma},
    ops,
};

/// Deletes a field of one's own profile.
pub(crate) async fn delete_profile_field(
    State(state): State<AppState>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    own(&request.body.user_id, &request.session.user_id)?;
    let field = request.body.field.as_str();
    ops::set_profile::set_profile_field(&state, &request.actor(), field, None).await?;
    Ok(Answer(Response::new()))
}
