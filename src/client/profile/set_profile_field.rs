//! `PUT /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname>

use axum::extract::State;
use ruma::{
    OwnedUserId,
    api::{
        IncomingRequest, Metadata,
        auth_scheme::AccessToken,
        client::profile::set_profile_field::v3::{Request as RumaRequest, Response},
        error::{DeserializationError, Error as MatrixError},
    },
    profile::ProfileFieldName,
};
use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value};

use crate::{
    app::AppState,
    client::own,
    http::{Answer, Result, Ruma},
    ops,
};

/// Like ruma's request, whose types refuse the `null` by which clients take back a display name or
/// an avatar.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    user_id: OwnedUserId,
    field: String,
    value: Value,
}

impl Metadata for Request {
    const METHOD: http::Method = RumaRequest::METHOD;
    const RATE_LIMITED: bool = RumaRequest::RATE_LIMITED;
    type Authentication = AccessToken;
    type PathBuilder = <RumaRequest as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = RumaRequest::PATH_BUILDER;
}

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

/// Sets a field of one's own profile.
pub(crate) async fn set_profile_field(
    State(state): State<AppState>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let Request { user_id, field, value } = &request.body;
    own(user_id, &request.session.user_id)?;
    ops::set_profile::set_profile_field(&state, &request.actor(), field, Some(value)).await?;
    Ok(Answer(Response::new()))
}
