//! A request at ruma's paths whose body may be any object.

use std::marker::PhantomData;

use ruma::{
    CanonicalJsonObject,
    api::{IncomingRequest, Metadata, error::DeserializationError},
};
use serde::de::{
    DeserializeOwned,
    value::{Error as ValueError, SeqDeserializer},
};

/// The variables of the path and the body of a request, served wherever ruma's request `R` is, for
/// bodies that hold what ruma's type cannot say: content of events, and keys that nobody knows.
///
/// The body is canonical: a number that is no integer, or none of the range that all servers can
/// hold, makes it `M_BAD_JSON`. An empty one is an empty object.
#[derive(Debug)]
pub struct FreeForm<R, P> {
    /// The variables of the path, in their order.
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
