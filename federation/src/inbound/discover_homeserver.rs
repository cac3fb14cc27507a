//! `GET /.well-known/matrix/server`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::federation::discovery::discover_homeserver::{Request, Response};
use stoa_http::{Answer, Error, Result, RumaStatic};

use crate::Federation;

/// Returns the host that serves the server name. If the admin has not set it, the answer is 404,
/// and other servers continue with the next step of discovery. Without caching headers, they keep
/// an answer for a day and a 404 for an hour at most, as the specification recommends.
pub(crate) async fn discover_homeserver(
    State(federation): State<Arc<Federation>>,
    _: RumaStatic<Request>,
) -> Result<Answer<Response>> {
    let server = federation.well_known.clone();
    let server = server.ok_or_else(|| Error::not_found("Nothing is announced here."))?;
    Ok(Answer(Response::new(server)))
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/.well-known/matrix/server";

    both_databases! {
        async fn nothing_is_announced_by_default(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.client().get(PATH).await.refused(404, "M_NOT_FOUND");
        }

        async fn what_the_admin_has_set_is_announced(db: TestDatabase) {
            let server = TestServer::start_with(db, |config, _| {
                let well_known = server_name!("matrix.example.com:443");
                config.federation.well_known = Some(well_known.to_owned());
            })
            .await;
            let answer = server.client().get(PATH).await;
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            assert_eq!(answer.ok(), json!({ "m.server": "matrix.example.com:443" }));
        }

        async fn a_host_may_stand_without_a_port(db: TestDatabase) {
            let server = TestServer::start_with(db, |config, _| {
                config.federation.well_known = Some(server_name!("matrix.example.com").to_owned());
            })
            .await;
            let answer = server.client().get(PATH).await.ok();
            assert_eq!(answer, json!({ "m.server": "matrix.example.com" }));
        }

        async fn it_is_limited_by_address(db: TestDatabase) {
            let server = TestServer::start_with(db, |config, _| {
                config.limits.enabled = true;
                config.limits.anonymous.burst = 2.try_into().expect("not zero");
                config.limits.anonymous.per_minute = 1.try_into().expect("not zero");
            })
            .await;
            let client = server.client();
            for _ in 0..2 {
                client.get(PATH).await.refused(404, "M_NOT_FOUND");
            }
            client.get(PATH).await.refused(429, "M_LIMIT_EXCEEDED");
        }
    }
}
