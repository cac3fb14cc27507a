//! `GET /_matrix/federation/v1/version`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version>

use ruma::api::federation::discovery::get_server_version::v1::{Request, Response, Server};
use stoa_http::{Answer, RumaStatic};

/// Returns the name and version of this software.
pub(crate) async fn get_server_version(_: RumaStatic<Request>) -> Answer<Response> {
    let mut server = Server::new();
    server.name = Some("Stoa".to_owned());
    server.version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let mut response = Response::new();
    response.server = Some(server);
    Answer(response)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn any_server_may_ask_which_software_runs_here(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let answer = server.client().get("/_matrix/federation/v1/version").await;
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(answer.ok(), json!({ "server": { "name": "Stoa", "version": version } }));
        }
    }
}
