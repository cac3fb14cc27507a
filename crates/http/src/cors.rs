//! Cross-origin requests: web clients run on other origins, which browsers let in only with these
//! headers.

use http::{Method, header};
use tower_http::cors::{Any, CorsLayer};

/// The headers that every answer carries, including errors, and the answer to `OPTIONS`.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients>
pub fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::DATE,
            header::HeaderName::from_static("x-requested-with"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::HeaderName::from_static(crate::observe::REQUEST_ID),
        ])
        .max_age(std::time::Duration::from_secs(86_400))
}
