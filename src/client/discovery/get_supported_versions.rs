//! `GET /_matrix/client/versions`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions>

use axum::response::Response;
use stoa_http::respond::json_bytes;

/// The supported versions of the specification and the unstable features. A client does not connect
/// at all if what it needs is in neither.
const VERSIONS: &str = r#"{"versions":["v1.1","v1.2","v1.3","v1.4","v1.5","v1.6","v1.7","v1.8","v1.9","v1.10","v1.11","v1.12","v1.13","v1.14","v1.15","v1.16","v1.17","v1.18","v1.19"],"unstable_features":{"uk.tcpip.msc4133":true,"uk.tcpip.msc4133.stable":true}}"#;

/// Answers without checking the access token, which may have expired by the time a client asks.
pub(crate) async fn get_supported_versions() -> Response {
    json_bytes(VERSIONS)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn versions_need_no_token(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let answer = server.client().get("/_matrix/client/versions").await;
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            let body = answer.ok();
            let versions: Vec<&str> =
                body["versions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(versions.first(), Some(&"v1.1"));
            assert_eq!(versions.last(), Some(&"v1.19"));
            assert_eq!(versions.len(), 19);
            let features = body["unstable_features"].as_object().unwrap();
            assert!(features.values().all(Value::is_boolean), "{features:?}");

            let stale = server.client().with_token("expired");
            assert_eq!(stale.get("/_matrix/client/versions").await.ok(), body);
        }
    }
}
