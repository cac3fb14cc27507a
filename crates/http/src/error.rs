//! Error answers: a status, a Matrix error code, and a sentence for people. The errors of engine
//! crates are converted here, those of crates above this one in the crates themselves.
//!
//! Internal errors, such as a failing database or a bug, are logged once, with the request's ID
//! from its span. The client is told only that something went wrong.

mod accounts;
mod cluster;
mod directory;
mod ephemeral;
mod push;
mod rooms;

use std::{fmt, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use ruma::api::{
    OutgoingResponseExt as _,
    client::uiaa::{UiaaInfo, UiaaResponse},
    error::{
        DeserializationError, Error as MatrixError, ErrorBody, ErrorKind, FromHttpRequestError,
        LimitExceededErrorData, RetryAfter, StandardErrorBody, UnknownTokenErrorData,
    },
};
use stoa_storage::log::AppendError;

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error as the answer to a request.
#[derive(Debug)]
pub struct Error(Box<UiaaResponse>);

impl Error {
    /// An error with this status, code and message.
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        let body = ErrorBody::Standard(StandardErrorBody::new(kind, message.into()));
        Self(Box::new(UiaaResponse::MatrixError(MatrixError::new(status, body))))
    }

    /// 401: the client has to go through interactive authentication as `info` says.
    pub fn interactive_auth(info: UiaaInfo) -> Self {
        Self(Box::new(UiaaResponse::AuthResponse(info)))
    }

    /// 400 `M_BAD_JSON`: JSON without the expected content.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadJson, message)
    }

    /// 400 `M_NOT_JSON`: not JSON at all.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::NotJson, message)
    }

    /// 400 `M_MISSING_PARAM`: a parameter is missing.
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::MissingParam, message)
    }

    /// 400 `M_INVALID_PARAM`: a parameter has an invalid value.
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidParam, message)
    }

    /// 400 `M_UNKNOWN`: for errors that have no code of their own.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message)
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Forbidden, message)
    }

    /// 404 `M_NOT_FOUND`: the endpoint exists, but the requested thing does not.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
    }

    /// 401 `M_MISSING_TOKEN`.
    pub fn missing_token() -> Self {
        let message = "This request needs an access token.";
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::MissingToken, message)
    }

    /// 401 `M_UNKNOWN_TOKEN`. After a soft logout the client keeps its data and logs in again as
    /// the same device.
    pub fn unknown_token(soft_logout: bool) -> Self {
        let mut data = UnknownTokenErrorData::new();
        data.soft_logout = soft_logout;
        let message = if soft_logout {
            "The token is no longer valid: refresh it, or log in again as the same device."
        } else {
            "The access token is unknown."
        };
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::UnknownToken(data), message)
    }

    /// 429 `M_LIMIT_EXCEEDED`, with the time after which the client should try again.
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        let mut data = LimitExceededErrorData::new();
        data.retry_after = Some(RetryAfter::Delay(retry_after));
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::LimitExceeded(data),
            "Too many requests. Try again later.",
        )
    }

    /// 500 `M_UNKNOWN` for an internal error. The error is logged here and not shown to the client.
    pub fn internal(error: impl fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "Something went wrong on the server. Its log has the details.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Unknown, message)
    }

    /// 503 `M_UNKNOWN`: the database cannot be reached at the moment.
    fn unavailable(error: impl fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "The server cannot do this at the moment. Try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
    }

    /// How long the client is told to wait.
    fn retry_after(&self) -> Option<Duration> {
        match &*self.0 {
            UiaaResponse::MatrixError(error) => match error.error_kind()? {
                ErrorKind::LimitExceeded(data) => match data.retry_after? {
                    RetryAfter::Delay(delay) => Some(delay),
                    RetryAfter::DateTime(_) => None,
                },
                _ => None,
            },
            UiaaResponse::AuthResponse(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after();
        let mut response = match self.0.try_into_http_response::<Vec<u8>>() {
            Ok(response) => response.map(Body::from),
            Err(error) => {
                tracing::error!(%error, "cannot serialize an error");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        };
        if let Some(delay) = retry_after {
            // The header has whole seconds. Rounding down would make the client wait too short.
            let seconds = delay.as_millis().div_ceil(1000);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

impl From<FromHttpRequestError> for Error {
    fn from(error: FromHttpRequestError) -> Self {
        match error {
            FromHttpRequestError::Deserialization(error) => error.into(),
            other => Self::bad_request(other.to_string()),
        }
    }
}

impl From<DeserializationError> for Error {
    fn from(error: DeserializationError) -> Self {
        let message = error.to_string();
        match error {
            DeserializationError::Json(_) => Self::bad_json(message),
            DeserializationError::Query(_) if message.starts_with("missing field") => {
                Self::missing_param(message)
            }
            _ => Self::invalid_param(message),
        }
    }
}

impl From<stoa_storage::Error> for Error {
    fn from(error: stoa_storage::Error) -> Self {
        match error {
            // A NUL can only come from the request.
            stoa_storage::Error::Null => {
                Self::invalid_param("A text in the request contains a null character.")
            }
            error if error.is_outage() => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            // The queue empties within a fraction of a second, unless the server has other
            // problems.
            AppendError::Busy => Self::limit_exceeded(Duration::from_secs(1)),
            AppendError::SessionEnded => Self::unknown_token(false),
            AppendError::Unavailable => Self::unavailable(error),
            AppendError::Conflict
            | AppendError::Duplicate
            | AppendError::AccountChanged
            | AppendError::Refused(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value as JsonValue, json};

    use super::*;

    async fn answer(error: Error) -> (http::response::Parts, JsonValue) {
        let (parts, body) = error.into_response().into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (parts, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn an_answer_has_code_sentence_and_status() {
        let (parts, body) = answer(Error::forbidden("No.")).await;
        assert_eq!(parts.status, 403);
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(body, json!({ "errcode": "M_FORBIDDEN", "error": "No." }));
    }

    #[tokio::test]
    async fn waiting_is_rounded_up_to_whole_seconds() {
        let (parts, body) = answer(Error::limit_exceeded(Duration::from_millis(1_200))).await;
        assert_eq!(parts.status, 429);
        assert_eq!(parts.headers[header::RETRY_AFTER], "2");
        assert_eq!(body["errcode"], "M_LIMIT_EXCEEDED");
        assert_eq!(body["retry_after_ms"], 1_200);
    }

    #[tokio::test]
    async fn internal_errors_are_not_shown() {
        let (parts, body) = answer(Error::internal("the password of the database is 1234")).await;
        assert_eq!(parts.status, 500);
        assert!(!body.to_string().contains("1234"), "{body}");
    }

    #[tokio::test]
    async fn soft_logout_is_in_the_answer() {
        let (_, body) = answer(Error::unknown_token(true)).await;
        assert_eq!(body["soft_logout"], true);
    }
}
