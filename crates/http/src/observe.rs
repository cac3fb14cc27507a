//! What is recorded about each request: an ID shared by its answer and its log lines, a log line,
//! and how long it took, by route.
//!
//! A successful request is logged at level `debug`, since a busy server has thousands of them a
//! second, and a refused one at `info`. An internal error was logged where it happened. A slow
//! request is also logged as a warning, which says what the request waited for.
//!
//! A trace begins at the request's span. A trace ID from the client (`traceparent`) is ignored,
//! because with it a client could have every one of its requests traced.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use stoa_base::TimeSpent;
use tracing::{Instrument as _, field::Empty};

use crate::{ClientAddress, Context};

/// The header with the request ID.
pub const REQUEST_ID: &str = "x-request-id";

/// Records a request and its answer.
pub async fn observe(
    State(context): State<Arc<Context>>,
    request: Request,
    next: Next,
) -> Response {
    let started = context.clock.monotonic();
    let id = given_id(request.headers()).unwrap_or_else(|| context.random.alphanumeric(16));
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
    let (parts, body) = request.into_parts();
    let ClientAddress(address) = ClientAddress::of(&parts, &context.trusted_proxies);
    let request = Request::from_parts(parts, body);

    let span = tracing::info_span!("request", %id, method, route, user = Empty, status = Empty);
    let answering = TimeSpent::measure(next.run(request)).instrument(span.clone());
    let (mut response, spent) = answering.await;

    let elapsed = started.elapsed();
    let status = response.status();
    let span = span.entered();
    let milliseconds = to_ms(elapsed);
    let address = address.map(tracing::field::display);
    if status.is_client_error() || status.is_server_error() {
        tracing::info!(status = status.as_u16(), milliseconds, address, "refused");
    } else {
        tracing::debug!(status = status.as_u16(), milliseconds, address, "answered");
    }
    // The server is not slow when a sync waits for news, or a client takes long to send its body.
    let busy = elapsed.saturating_sub(spent.news).saturating_sub(spent.client);
    if context.slow_request.is_some_and(|limit| busy >= limit) {
        tracing::warn!(
            status = status.as_u16(),
            milliseconds = to_ms(busy),
            in_database = to_ms(spent.database),
            in_appends = to_ms(spent.appends),
            "a slow request"
        );
    }
    span.record("status", status.as_u16());
    metrics::histogram!(
        "stoa_http_request_duration_seconds",
        "method" => method, "route" => route, "status" => status_label(status)
    )
    .record(elapsed);
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn to_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The request ID from a reverse proxy, if it is safe to log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    (!id.is_empty() && id.len() <= 64 && id.chars().all(plain)).then(|| id.to_owned())
}

/// The method as a label. Methods that clients make up must not create time series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: StatusCode) -> String {
    status.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static(id));
        given_id(&headers)
    }

    #[test]
    fn a_request_id_is_accepted_only_if_it_is_plain() {
        assert_eq!(given("a-B_1.2:3"), Some("a-B_1.2:3".to_owned()));
        assert_eq!(given("a b"), None);
        assert_eq!(given(""), None);
        assert_eq!(given_id(&HeaderMap::new()), None);
    }
}
