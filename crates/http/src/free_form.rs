//! A request at ruma's paths whose body can be any object.

use std::marker::PhantomData;

use ruma::{
    CanonicalJsonObject,
    api::{IncomingRequest, Metadata, error::DeserializationError},
};
use serde::de::{
    DeserializeOwned,
    value::{Error as ValueError, SeqDeserializer},
};

/// The path variables and the body of a request, at the paths of ruma's request `R`. It is for
/// bodies that ruma's type cannot express: event content and unknown keys.
///
/// The body must be valid canonical JSON: a number that is not an integer, or is outside the range
/// that all servers support, gives `M_BAD_JSON`. An empty body is taken as an empty object.
#[derive(Debug)]
pub struct FreeForm<R, P> {
    /// The path variables, in order.
    pub path: P,
    /// The body.
    pub body: CanonicalJsonObject,
    request: PhantomData<fn() -> R>,
}

impl<R: Metadata, P> Metadata for FreeForm<R, P> {
    const METHOD: http::Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest, P: DeserializeOwned> IncomingRequest for FreeForm<R, P> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let arguments = SeqDeserializer::<_, ValueError>::new(path_args.iter().copied());
        let path = P::deserialize(arguments)?;
        let body = match *request.body() {
            [] => CanonicalJsonObject::new(),
            body => serde_json::from_slice(body)?,
        };
        Ok(Self { path, body, request: PhantomData })
    }
}
