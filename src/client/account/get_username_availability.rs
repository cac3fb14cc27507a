//! `GET /_matrix/client/v3/register/available`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::get_username_availability::v3::{Request, Response};
use stoa_accounts::Registrar;
use stoa_http::{Answer, Result, Ruma};

/// Checks whether an account with this name can be created.
pub(crate) async fn get_username_availability(
    State(registrar): State<Arc<Registrar>>,
    Ruma { body, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    registrar.check_username(&body.username).await?;
    Ok(Answer(Response::new(true)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/register/available";

    both_databases! {
        async fn a_name_is_free_until_it_is_taken(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let client = server.client();
            let path = format!("{PATH}?username=username_should_be_available");
            assert_eq!(client.get(&path).await.ok(), json!({ "available": true }));
            server.register("username_should_be_available").await;
            client.get(&path).await.refused(400, "M_USER_IN_USE");
        }

        async fn a_name_that_cannot_be_is_not_available(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let client = server.client();
            let invalid = client.get(&format!("{PATH}?username=not,valid")).await;
            invalid.refused(400, "M_INVALID_USERNAME");
            client.get(PATH).await.refused(400, "M_MISSING_PARAM");
        }
    }
}
