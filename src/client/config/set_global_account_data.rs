//! `PUT /_matrix/client/v3/user/{userId}/account_data/{type}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridaccount_datatype>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::config::set_global_account_data::v3::{Request, Response};
use stoa_accounts::AccountData;
use stoa_http::{Answer, Result, Ruma};

use super::UNIT;
use crate::ops::own_user::check_own_user;

/// Sets account data of one type.
pub(crate) async fn set_global_account_data(
    State(account_data): State<Arc<AccountData>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let body = &request.body;
    check_own_user(&body.user_id, &request.session.user_id)?;
    request.budget.charge(&body.user_id, request.raw.len() / UNIT)?;
    let kind = body.event_type.to_string();
    account_data.set(&request.actor(), None, &kind, body.data.json()).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/user/@alice:test/account_data/test.key";

    both_databases! {
        async fn account_data_is_returned_and_replaced(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            alice.get(PATH).await.refused(404, "M_NOT_FOUND");
            for value in [json!({ "value": "first" }), json!({ "order": 0.5, "deep": [[{}]] })] {
                assert_eq!(alice.put(PATH, value.clone()).await.ok(), json!({}));
                assert_eq!(alice.get(PATH).await.ok(), value);
            }
        }

        async fn only_objects_can_be_set(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for value in [json!("text"), json!([1]), json!(null)] {
                alice.put(PATH, value).await.refused(400, "M_BAD_JSON");
            }
        }

        async fn types_managed_by_the_server_cannot_be_set(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for kind in ["m.fully_read", "m.push_rules"] {
                let path = format!("/_matrix/client/v3/user/@alice:test/account_data/{kind}");
                alice.put(&path, json!({})).await.refused(405, "M_BAD_JSON");
            }
        }
    }
}
