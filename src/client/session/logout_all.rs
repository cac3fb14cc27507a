//! `POST /_matrix/client/v3/logout/all`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::session::logout_all::v3::{Request, Response};
use stoa_accounts::Sessions;
use stoa_http::{Answer, Result, Ruma};

/// Logs out all sessions of the user.
pub(crate) async fn logout_all(
    State(sessions): State<Arc<Sessions>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    sessions.log_out_all(&request.actor()).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

    both_databases! {
        async fn all_sessions_end_and_a_new_one_begins(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let bob = server.register("bob").await;
            let phone = server.log_in(&alice).await;
            let answer = phone.post("/_matrix/client/v3/logout/all", json!({})).await;
            assert_eq!(answer.ok(), json!({}));
            for client in [&alice, &phone] {
                client.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
            }
            bob.get(WHOAMI).await.ok();
            server.log_in(&alice).await.get(WHOAMI).await.ok();
        }
    }
}
