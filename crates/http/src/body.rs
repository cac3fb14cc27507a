//! Reading the body of a request, which must be JSON, within limits on its size and time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRef, FromRequest, Request},
};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ruma::api::error::ErrorKind;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stoa_base::TimeSpent;

use crate::{Context, Error, Result};

/// How long a body may take to arrive. A slower client would hold a connection that others could
/// use.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How deep objects and lists may be nested. Other parsers refuse JSON that is nested deeper, and
/// no client needs it.
const MAX_DEPTH: usize = 100;

/// Reads a body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize) -> Result<Bytes> {
    let _spending = TimeSpent::on_client();
    let reading = Limited::new(body, limit).collect();
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Error::too_large(format!("A request may have at most {limit} bytes.")))
        }
        Ok(Err(_)) => Err(Error::bad_request("The request ended before its body was complete.")),
        Err(_) => Err(Error::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Unknown,
            "The body of the request did not arrive in time.",
        )),
    }
}

/// A body of a type of our own, for endpoints that ruma does not know.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<S, T> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    Arc<Context>: FromRef<S>,
    T: DeserializeOwned,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let body =
            read(request.into_body(), Arc::<Context>::from_ref(state).max_request_bytes).await?;
        check_json(&body)?;
        let value = serde_json::from_slice(&body);
        value.map(Self).map_err(|error| Error::bad_json(error.to_string()))
    }
}

/// Refuses a body that is not JSON or is nested too deep.
///
/// Deserializing into the request's type would not find this: an error in an early field hides that
/// the rest is not JSON, and the nesting of skipped fields is not measured.
pub fn check_json(body: &[u8]) -> Result<()> {
    if depth(body) > MAX_DEPTH {
        let message = format!("The JSON is nested deeper than {MAX_DEPTH} levels.");
        return Err(Error::bad_json(message));
    }
    serde_json::from_slice::<&RawValue>(body)
        .map_err(|error| Error::not_json(error.to_string()))?;
    Ok(())
}

/// The nesting depth of brackets in a JSON text.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Skips the rest of a JSON string, including the closing quotation mark.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> String {
        check_json(body).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(depth(br#"{"a":"[[[[\"[[","b":[{}]}"#), 3);
        assert_eq!(depth(b"1"), 0);
    }

    #[test]
    fn nesting_ends_at_a_hundred_levels() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(code(nested(100).as_bytes()), "");
        assert!(code(nested(101).as_bytes()).contains("M_BAD_JSON"));
        assert!(code("[".repeat(1_000_000).as_bytes()).contains("M_BAD_JSON"));
    }

    #[test]
    fn a_body_that_is_not_json_is_refused() {
        for body in [&b"{"[..], b"{\"a\":\"\x81\"}", b"{'a':1}", b"{\"a\":NaN}", b"{} {}"] {
            assert!(code(body).contains("M_NOT_JSON"), "{}", String::from_utf8_lossy(body));
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_cut_off() {
        tokio::time::pause();
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let error = read(Body::from_stream(never), 100).await.expect_err("no body");
        assert!(error.to_string().contains("408"), "{error}");
    }

    #[tokio::test]
    async fn the_limit_is_the_last_size_that_passes() {
        assert!(read(Body::from(vec![b'1'; 100]), 100).await.is_ok());
        let error = read(Body::from(vec![b'1'; 101]), 100).await.expect_err("too large");
        assert!(error.to_string().contains("M_TOO_LARGE"), "{error}");
    }
}
