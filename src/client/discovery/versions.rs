//! `GET /_matrix/client/versions`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions>

use axum::response::Response;

use crate::http::respond::json_bytes;

/// The versions whose rules are followed, and the unstable features that are served. A client that
/// finds neither what it needs does not connect at all.
const VERSIONS: &str = r#"{"versions":["v1.1","v1.2","v1.3","v1.4","v1.5","v1.6","v1.7","v1.8","v1.9","v1.10","v1.11","v1.12","v1.13","v1.14","v1.15","v1.16","v1.17","v1.18","v1.19"],"unstable_features":{"uk.tcpip.msc4133":true,"uk.tcpip.msc4133.stable":true}}"#;

/// Answers without looking at the token, which may have expired by the time a client asks.
pub(crate) async fn get_versions() -> Response {
    json_bytes(VERSIONS)
}
