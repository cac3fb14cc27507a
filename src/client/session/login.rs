//! `POST /_matrix/client/v3/login`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedDeviceId,
    api::{
        IncomingRequest,
        client::{
            session::login::v3::{DiscoveryInfo, HomeserverInfo, Request as RumaRequest, Response},
            uiaa::UserIdentifier,
        },
        error::{DeserializationError, Error as MatrixError},
    },
};
use serde::Deserialize;
use stoa_accounts::{NewDevice, PasswordLogin, Passwords};
use stoa_http::{Answer, Error, Result, Ruma, endpoint_of};

use crate::app::AppState;

/// Like ruma's request, which panics if the `type` is missing.
#[derive(Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    identifier: Option<UserIdentifier>,
    /// The older form of `identifier`; some clients still send it.
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    device_id: Option<OwnedDeviceId>,
    #[serde(default)]
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

endpoint_of!(RumaRequest => Request);

impl IncomingRequest for Request {
    type EndpointError = MatrixError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        _: &[&str],
    ) -> Result<Self, DeserializationError> {
        Ok(serde_json::from_slice(request.body())?)
    }
}

impl Request {
    /// The user who logs in: a full user ID or its localpart.
    fn user(&self) -> Result<&str> {
        match &self.identifier {
            Some(UserIdentifier::Matrix(identifier)) => Ok(&identifier.user),
            Some(_) => Err(Error::bad_request("This type of identifier is not supported.")),
            None => {
                let user = self.user.as_deref();
                user.ok_or_else(|| Error::missing_param("`identifier` is missing."))
            }
        }
    }
}

/// Logs a user in with a password, on a new device or on the given one.
pub(crate) async fn login(
    State(state): State<AppState>,
    State(passwords): State<Arc<Passwords>>,
    Ruma { body, address, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    if body.kind != "m.login.password" {
        return Err(Error::bad_request("This login type is not supported."));
    }
    let password = body.password.as_deref();
    let session = passwords
        .log_in(PasswordLogin {
            user: body.user()?,
            password: password.ok_or_else(|| Error::missing_param("`password` is missing."))?,
            device: NewDevice {
                device_id: body.device_id.as_deref(),
                display_name: body.initial_device_display_name.as_deref(),
                refreshable: body.refresh_token,
            },
            address,
        })
        .await?;
    let tokens = session.tokens;
    let mut response = Response::new(session.user_id, tokens.access_token, session.device_id);
    response.refresh_token = tokens.refresh_token;
    response.expires_in = tokens.expires_in;
    let public_url = state.config.public_base_url.as_ref();
    response.well_known =
        public_url.map(|url| DiscoveryInfo::new(HomeserverInfo::new(url.as_str().to_owned())));
    Ok(Answer(response))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use serde_json::{Value, json};
    use stoa_testing::{PASSWORD, TestClient, TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/login";

    fn request(user: &str, password: &str) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        })
    }

    async fn whoami(client: &TestClient, session: &Value) -> Value {
        let client = client.with_session(session);
        client.get("/_matrix/client/v3/account/whoami").await.ok()
    }

    both_databases! {
        async fn a_user_is_known_by_id_and_by_localpart_in_any_case(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let client = server.client();
            for user in ["alice", "@alice:test", "@ALICE:test"] {
                let session = client.post(PATH, request(user, PASSWORD)).await.ok();
                assert_eq!(session["user_id"], "@alice:test");
                assert_ne!(session["device_id"], alice.device_id.as_str());
                let who = whoami(&client, &session).await;
                assert_eq!(who["user_id"], "@alice:test");
                assert_eq!(who["device_id"], session["device_id"]);
            }
            let legacy = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
            assert_eq!(client.post(PATH, legacy).await.ok()["user_id"], "@alice:test");
        }

        async fn the_device_that_is_asked_for_is_used(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let mut named = request("alice", PASSWORD);
            named["device_id"] = "phone".into();
            named["initial_device_display_name"] = "Alice's phone".into();
            let first = server.client().post(PATH, named.clone()).await.ok();
            assert_eq!(first["device_id"], "phone");
            let second = server.client().post(PATH, named).await.ok();
            assert_eq!(second["device_id"], "phone");
            assert_ne!(first["access_token"], second["access_token"]);

            let devices = alice.get("/_matrix/client/v3/devices").await.ok();
            assert_eq!(devices["devices"].as_array().unwrap().len(), 2);
            let phone = alice.get("/_matrix/client/v3/devices/phone").await.ok();
            assert_eq!(phone["display_name"], "Alice's phone");
        }

        async fn wrong_passwords_and_users_are_refused_alike(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.register("alice").await;
            let client = server.client();
            let wrong_password = client.post(PATH, request("alice", "wrong")).await;
            let wrong_user = client.post(PATH, request("nobody", PASSWORD)).await;
            let wrong_server = client.post(PATH, request("@alice:elsewhere", PASSWORD)).await;
            for answer in [&wrong_password, &wrong_user, &wrong_server] {
                answer.refused(403, "M_FORBIDDEN");
                assert_eq!(answer.body, wrong_password.body);
            }
        }

        async fn what_is_not_understood_is_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let client = server.client();
            let unknown = json!({ "type": "org.example.handshake" });
            client.post(PATH, unknown).await.refused(400, "M_UNKNOWN");
            let nobody = json!({ "type": "m.login.password", "password": PASSWORD });
            client.post(PATH, nobody).await.refused(400, "M_MISSING_PARAM");
            let number = json!({ "type": "m.login.password", "user": 1, "password": PASSWORD });
            client.post(PATH, number).await.refused(400, "M_BAD_JSON");
            client.post(PATH, json!({})).await.refused(400, "M_BAD_JSON");
            let empty = client.request(Method::POST, PATH).send().await;
            empty.refused(400, "M_BAD_JSON");
        }

        async fn one_address_has_so_many_attempts(db: TestDatabase) {
            let server = TestServer::start_with(db, |config, _| {
                config.limits.enabled = true;
                config.limits.logins.burst = 2.try_into().unwrap();
            })
            .await;
            let attempt = |address: &str| {
                let request = server.client().request(Method::POST, PATH);
                request.json(&json!({ "type": "unknown" })).from(address.parse().unwrap()).send()
            };
            for _ in 0..2 {
                attempt("192.0.2.1:1").await.refused(400, "M_UNKNOWN");
            }
            let refused = attempt("192.0.2.1:1").await;
            refused.refused(429, "M_LIMIT_EXCEEDED");
            assert_eq!(refused.headers["retry-after"], "1");
            assert!((1..=1_000).contains(&refused.json()["retry_after_ms"].as_u64().unwrap()));
            attempt("192.0.2.2:1").await.refused(400, "M_UNKNOWN");
        }
    }
}
