//! `GET /.well-known/matrix/client`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient>

use axum::extract::State;
use ruma::api::client::discovery::discover_homeserver::{HomeserverInfo, Request, Response};
use stoa_http::{Answer, Error, Result, RumaStatic};

use crate::app::AppState;

/// Returns the address for clients, or 404 if the admin has not set it; clients then try the server
/// name itself.
pub(crate) async fn discover_homeserver(
    State(state): State<AppState>,
    _: RumaStatic<Request>,
) -> Result<Answer<Response>> {
    let url = state.config.public_base_url.as_ref();
    let url = url.ok_or_else(|| Error::not_found("No address is configured."))?;
    Ok(Answer(Response::new(HomeserverInfo::new(url.as_str().to_owned()))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/.well-known/matrix/client";

    both_databases! {
        async fn the_public_address_is_announced_if_it_is_set(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.client().get(PATH).await.refused(404, "M_NOT_FOUND");
            server.stop().await;

            let server = TestServer::start_with(db, |config, _| {
                let url = json!("https://matrix.example.com/");
                config.public_base_url = Some(serde_json::from_value(url).unwrap());
            })
            .await;
            let answer = server.client().get(PATH).await;
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            let expected = json!({ "m.homeserver": { "base_url": "https://matrix.example.com" } });
            assert_eq!(answer.ok(), expected);
        }
    }
}
