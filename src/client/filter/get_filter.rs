//! `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::filter::get_filter::v3::Request;
use stoa_accounts::Filters;
use stoa_http::{Error, Result, Ruma, respond::json_bytes};

use crate::ops::own_user::check_own_user;

/// Returns a filter as it was stored.
pub(crate) async fn get_filter(
    State(filters): State<Arc<Filters>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Response> {
    check_own_user(&body.user_id, &session.user_id)?;
    let filter = filters.get(&body.user_id, &body.filter_id).await?;
    let filter = filter.ok_or_else(|| Error::not_found("You have no such filter."))?;
    Ok(json_bytes(filter.source.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/user/@alice:test/filter";

    both_databases! {
        async fn a_filter_is_given_as_it_was_stored(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let filter = json!({ "room": { "timeline": { "limit": 10 } }, "org.example.key": true });
            let id = alice.post(PATH, filter.clone()).await.ok()["filter_id"].clone();
            let id = id.as_str().unwrap();
            assert!(!id.is_empty() && !id.starts_with('{'), "{id}");
            let path = format!("{PATH}/{id}");
            assert_eq!(alice.get(&path).await.ok(), filter);
            let again = alice.post(PATH, filter).await.ok();
            assert_eq!(again["filter_id"], id, "the same filter has the same id");

            let bob = server.register("bob").await;
            bob.get(&path).await.refused(403, "M_FORBIDDEN");
            alice.get(&format!("{PATH}/unknown")).await.refused(404, "M_NOT_FOUND");
        }
    }
}
