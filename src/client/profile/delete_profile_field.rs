//! `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::profile::delete_profile_field::v3::{Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Limits, Result, Ruma};
use stoa_rooms::Rooms;

use crate::ops::{own_user::check_own_user, set_profile};

/// Deletes a field of the user's own profile.
pub(crate) async fn delete_profile_field(
    State(profiles): State<Arc<Profiles>>,
    State(rooms): State<Arc<Rooms>>,
    State(limits): State<Limits>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    check_own_user(&request.body.user_id, &request.session.user_id)?;
    let field = request.body.field.as_str();
    let actor = request.actor();
    set_profile::set_profile_field(&profiles, &rooms, &limits, &actor, field, None).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn a_field_is_deleted_by_its_owner(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let bob = server.register("bob").await;
            let path = "/_matrix/client/v3/profile/@alice:test/displayname";
            alice.put(path, json!({ "displayname": "Alice" })).await.ok();
            bob.delete(path).await.refused(403, "M_FORBIDDEN");
            assert_eq!(alice.delete(path).await.ok(), json!({}));
            alice.get(path).await.refused(404, "M_NOT_FOUND");
            assert_eq!(alice.delete(path).await.ok(), json!({}), "nothing to delete");
        }
    }
}
