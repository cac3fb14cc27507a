//! `POST /_matrix/client/v3/logout`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::session::logout::v3::{Request, Response};
use stoa_accounts::Sessions;
use stoa_http::{Answer, Result, Ruma};

/// Logs the session out and deletes its device.
pub(crate) async fn logout(
    State(sessions): State<Arc<Sessions>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    sessions.log_out(&request.actor()).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use http::{Method, header};
    use serde_json::json;
    use stoa_testing::{Backend, TestClient, TestServer, both_databases};

    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

    async fn device_ids(client: &TestClient) -> Vec<String> {
        let devices = client.get("/_matrix/client/v3/devices").await.ok();
        let devices = devices["devices"].as_array().unwrap().iter();
        devices.map(|device| device["device_id"].as_str().unwrap().to_owned()).collect()
    }

    both_databases! {
        async fn one_session_ends_and_others_stay(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let phone = server.log_in(&alice).await;
            assert_eq!(device_ids(&alice).await.len(), 2);
            // Clients send an empty body with a JSON content type.
            let request = phone.request(Method::POST, "/_matrix/client/v3/logout");
            let request = request.header(header::CONTENT_TYPE, "application/json");
            assert_eq!(request.send().await.ok(), json!({}));
            phone.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
            assert_eq!(device_ids(&alice).await, std::slice::from_ref(&alice.device_id));
            let again = phone.post("/_matrix/client/v3/logout", json!({})).await;
            again.refused(401, "M_UNKNOWN_TOKEN");
        }
    }

    #[test]
    fn a_logout_holds_at_once_on_every_node() {
        stoa_testing::run_on(Backend::Postgres, async |db| {
            let one = TestServer::start(db).await;
            let other = TestServer::start(db).await;
            let alice = one.register("alice").await;
            let there = other.client().with_token(alice.token().unwrap());
            there.get(WHOAMI).await.ok();
            alice.post("/_matrix/client/v3/logout", json!({})).await.ok();
            there.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
        });
    }
}
