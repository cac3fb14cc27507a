//! `POST /_matrix/client/v3/user/{userId}/filter`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::filter::create_filter::v3::{Request, Response};
use serde_json::value::RawValue;
use stoa_accounts::Filters;
use stoa_http::{Answer, Error, Result, Ruma};

use crate::ops::own_user::check_own_user;

/// Stores a filter and returns its ID.
pub(crate) async fn create_filter(
    State(filters): State<Arc<Filters>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    check_own_user(&request.body.user_id, &request.session.user_id)?;
    // As the client sent it: ruma's type drops fields that the filter's checks have to see.
    let definition: &RawValue =
        serde_json::from_slice(&request.raw).map_err(|error| Error::bad_json(error.to_string()))?;
    let id = filters.create(&request.actor(), definition).await?;
    Ok(Answer(Response::new(id)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/user/@alice:test/filter";

    both_databases! {
        async fn an_invalid_filter_is_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for filter in [
                json!({ "presence": "text" }),
                json!({ "room": { "timeline": "text" } }),
                json!({ "room": { "state": "text" } }),
                json!({ "room": { "ephemeral": "text" } }),
                json!({ "room": { "account_data": "text" } }),
                json!({ "room": { "timeline": { "rooms": "text" } } }),
                json!({ "room": { "timeline": { "not_rooms": "text" } } }),
                json!({ "room": { "timeline": { "senders": "text" } } }),
                json!({ "room": { "timeline": { "not_senders": "text" } } }),
                json!({ "room": { "timeline": { "types": "text" } } }),
                json!({ "room": { "timeline": { "not_types": "text" } } }),
                json!({ "room": { "timeline": { "types": [1] } } }),
                json!({ "room": { "timeline": { "rooms": ["not_a_room_id"] } } }),
                json!({ "room": { "timeline": { "senders": ["not_a_sender_id"] } } }),
                json!([]),
            ] {
                let (status, code) = alice.post(PATH, filter.clone()).await.error();
                assert_eq!((status, code.as_str()), (400, "M_BAD_JSON"), "{filter}");
            }
        }

        async fn a_filter_is_made_for_oneself(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.register("alice").await;
            let bob = server.register("bob").await;
            bob.post(PATH, json!({})).await.refused(403, "M_FORBIDDEN");
        }
    }
}
