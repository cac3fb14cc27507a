//! `GET /_matrix/client/v3/account/whoami`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami>

use ruma::{
    api::client::account::whoami::v3::{Request, Response},
    assign,
};
use stoa_http::{Answer, Ruma};

/// Returns the user and device to which the access token belongs.
pub(crate) async fn whoami(Ruma { session, .. }: Ruma<Request>) -> Answer<Response> {
    Answer(assign!(Response::new(session.user_id.clone(), false), {
        device_id: Some(session.device_id.clone()),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn a_token_identifies_its_user_and_device(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let answer = alice.get("/_matrix/client/v3/account/whoami").await.ok();
            let expected = json!({ "user_id": "@alice:test", "device_id": alice.device_id });
            assert_eq!(answer, expected);
            assert_eq!(alice.get("/_matrix/client/r0/account/whoami").await.ok(), expected);
        }
    }
}
