//! `GET /_matrix/client/v3/user/{userId}/account_data/{type}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    api::client::config::get_global_account_data::v3::{Request, Response},
    serde::Raw,
};
use stoa_accounts::AccountData;
use stoa_http::{Answer, Error, Result, Ruma};

use crate::ops::own_user::check_own_user;

/// Returns account data of one type.
pub(crate) async fn get_global_account_data(
    State(account_data): State<Arc<AccountData>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    check_own_user(&body.user_id, &session.user_id)?;
    let kind = body.event_type.to_string();
    let content = account_data.get(&body.user_id, None, &kind).await?;
    let content =
        content.ok_or_else(|| Error::not_found("No account data of this type is set."))?;
    Ok(Answer(Response::new(Raw::from_json(content))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/user/@alice:test/account_data/test.key";

    both_databases! {
        async fn it_is_the_users_own(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            alice.put(PATH, json!({ "secret": 1 })).await.ok();
            let bob = server.register("bob").await;
            bob.get(PATH).await.refused(403, "M_FORBIDDEN");
            bob.put(PATH, json!({})).await.refused(403, "M_FORBIDDEN");
        }
    }
}
