//! `GET /_matrix/client/v3/login`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login>

use ruma::api::client::session::get_login_types::v3::{
    LoginType, PasswordLoginType, Request, Response,
};
use stoa_http::{Answer, RumaStatic};

/// Returns the supported login types.
pub(crate) async fn get_login_types(_: RumaStatic<Request>) -> Answer<Response> {
    let flows = vec![LoginType::Password(PasswordLoginType::new())];
    Answer(Response::new(flows))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/login";

    both_databases! {
        async fn the_flows_are_listed_whatever_the_body(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let answer = server.client().request(Method::GET, PATH).json(&json!({})).send().await;
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.ok(), json!({ "flows": [{ "type": "m.login.password" }] }));
        }
    }
}
