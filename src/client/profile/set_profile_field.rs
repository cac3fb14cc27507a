//! `PUT /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedUserId,
    api::{
        IncomingRequest,
        client::profile::set_profile_field::v3::{Request as RumaRequest, Response},
        error::{DeserializationError, Error as MatrixError},
    },
    profile::ProfileFieldName,
};
use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Limits, Result, Ruma, endpoint_of};
use stoa_rooms::Rooms;

use crate::ops::{own_user::check_own_user, set_profile};

/// Like ruma's request, whose types refuse the `null` with which clients remove a display name or
/// an avatar.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    user_id: OwnedUserId,
    field: String,
    value: Value,
}

endpoint_of!(RumaRequest => Request);

impl IncomingRequest for Request {
    type EndpointError = MatrixError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let arguments = path_args.iter().copied();
        let arguments =
            serde::de::value::SeqDeserializer::<_, serde::de::value::Error>::new(arguments);
        let (user_id, field) = <(OwnedUserId, ProfileFieldName)>::deserialize(arguments)?;
        let mut body: Map<String, Value> = serde_json::from_slice(request.body())?;
        let field = field.as_str().to_owned();
        let value = body.remove(&field);
        let value =
            value.ok_or_else(|| serde_json::Error::custom(format!("missing field `{field}`")))?;
        Ok(Self { user_id, field, value })
    }
}

/// Sets a field of the user's own profile.
pub(crate) async fn set_profile_field(
    State(profiles): State<Arc<Profiles>>,
    State(rooms): State<Arc<Rooms>>,
    State(limits): State<Limits>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let Request { user_id, field, value } = &request.body;
    check_own_user(user_id, &request.session.user_id)?;
    let actor = request.actor();
    set_profile::set_profile_field(&profiles, &rooms, &limits, &actor, field, Some(value)).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn a_field_is_set_and_taken_back(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/profile/@alice:test/avatar_url";
            // Not an `mxc:` address: clients have put all kinds of values here.
            alice.put(path, json!({ "avatar_url": "LemurLover" })).await.ok();
            assert_eq!(alice.get(path).await.ok(), json!({ "avatar_url": "LemurLover" }));
            alice.put(path, json!({ "avatar_url": null })).await.ok();
            alice.get(path).await.refused(404, "M_NOT_FOUND");
        }

        async fn users_have_fields_of_their_own(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/profile/@alice:test/org.example.pronouns";
            let value = json!({ "org.example.pronouns": [{ "language": "en", "summary": "she" }] });
            alice.put(path, value.clone()).await.ok();
            assert_eq!(alice.get(path).await.ok(), value);
            let long = format!("/_matrix/client/v3/profile/@alice:test/{}", "x".repeat(256));
            let answer = alice.put(&long, json!({ "x".repeat(256): 1 })).await;
            answer.refused(400, "M_KEY_TOO_LARGE");
            let large = json!({ "org.example.pronouns": "x".repeat(65_536) });
            alice.put(path, large).await.refused(400, "M_PROFILE_TOO_LARGE");
        }

        async fn a_profile_is_set_by_its_owner(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.register("alice").await;
            let bob = server.register("bob").await;
            let path = "/_matrix/client/v3/profile/@alice:test/displayname";
            let answer = bob.put(path, json!({ "displayname": "Mallory" })).await;
            answer.refused(403, "M_FORBIDDEN");
        }

        async fn the_field_has_to_be_in_the_body(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/profile/@alice:test/displayname";
            alice.put(path, json!({ "avatar_url": "x" })).await.refused(400, "M_BAD_JSON");
            alice.put(path, json!("x")).await.refused(400, "M_BAD_JSON");
            alice.put(path, json!({ "displayname": 1 })).await.refused(400, "M_INVALID_PARAM");
        }
    }
}
