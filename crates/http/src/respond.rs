//! Turns the values that handlers return into answers.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use ruma::{api::OutgoingResponse, api::OutgoingResponseExt as _};
use serde::Serialize;

use crate::Error;

/// An answer of one of ruma's response types.
#[derive(Clone, Debug)]
pub struct Answer<R>(pub R);

impl<R: OutgoingResponse> IntoResponse for Answer<R> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<Vec<u8>>() {
            Ok(response) => response.map(Body::from),
            Err(error) => Error::internal(error).into_response(),
        }
    }
}

/// An answer of a type of our own, if ruma's cannot express what clients rely on.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => json_bytes(json),
            Err(error) => Error::internal(error).into_response(),
        }
    }
}

/// An answer of JSON that is already serialized.
pub fn json_bytes(json: impl Into<Body>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], json.into()).into_response()
}
