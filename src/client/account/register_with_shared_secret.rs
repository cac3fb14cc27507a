//! `GET /_synapse/admin/v1/register`, `POST /_synapse/admin/v1/register`
//!
//! Creates accounts, including admins, for clients that know the shared secret. Test tools and
//! scripts expect it at Synapse's path:
//! <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>

use std::sync::Arc;

use axum::extract::State;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use stoa_accounts::{Registrar, SharedSecretRequest};
use stoa_http::{ClientAddress, Result, body::JsonBody, respond::Json};

/// A number that can be used once, so that a recorded request cannot be repeated.
#[derive(Debug, Serialize)]
pub(crate) struct Nonce {
    nonce: String,
}

/// The account to create, and the proof that the sender knows the secret.
#[derive(Deserialize)]
pub(crate) struct Request {
    nonce: String,
    username: String,
    #[serde(default)]
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    user_type: Option<String>,
    mac: String,
}

/// The new account and its session.
#[derive(Debug, Serialize)]
pub(crate) struct Registered {
    user_id: OwnedUserId,
    home_server: String,
    access_token: String,
    device_id: OwnedDeviceId,
}

/// Returns a new nonce.
pub(crate) async fn get_nonce(State(registrar): State<Arc<Registrar>>) -> Result<Json<Nonce>> {
    Ok(Json(Nonce { nonce: registrar.nonce()? }))
}

/// Creates the account and logs it in.
pub(crate) async fn register(
    State(registrar): State<Arc<Registrar>>,
    ClientAddress(address): ClientAddress,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Registered>> {
    let session = registrar
        .register_with_shared_secret(SharedSecretRequest {
            nonce: &request.nonce,
            username: &request.username,
            display_name: request.displayname.as_deref(),
            password: &request.password,
            admin: request.admin,
            user_type: request.user_type.as_deref(),
            mac: &request.mac,
            address,
        })
        .await?;
    Ok(Json(Registered {
        home_server: session.user_id.server_name().to_string(),
        user_id: session.user_id,
        access_token: session.tokens.access_token,
        device_id: session.device_id,
    }))
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use http::Method;
    use ruma::UserId;
    use serde_json::{Value, json};
    use sha1::Sha1;
    use stoa_testing::{TestDatabase, TestServer, both_databases};

    const PATH: &str = "/_synapse/admin/v1/register";

    async fn start(db: &TestDatabase) -> TestServer {
        TestServer::start_with(db, |config, _| {
            config.registration.enabled = false;
            config.registration.shared_secret = serde_json::from_value("complement".into()).ok();
        })
        .await
    }

    fn mac(secret: &str, parts: [&str; 4]) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(parts.join("\0").as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn request(server: &TestServer, username: &str, admin: bool) -> Value {
        request_with(server, username, "sUp3rs3kr1t", admin).await
    }

    async fn request_with(
        server: &TestServer,
        username: &str,
        password: &str,
        admin: bool,
    ) -> Value {
        let nonce = server.client().get(PATH).await.ok()["nonce"].as_str().unwrap().to_owned();
        let role = if admin { "admin" } else { "notadmin" };
        let mac = mac("complement", [&nonce, username, password, role]);
        json!({
            "nonce": nonce, "username": username, "password": password, "admin": admin,
            "mac": mac,
        })
    }

    both_databases! {
        async fn the_secret_creates_users_and_admins(db: TestDatabase) {
            let server = start(db).await;
            for (name, admin) in [("alice", true), ("user-UPPER-shared-SECRET", false)] {
                let request = request(&server, name, admin).await;
                let session = server.client().post(PATH, request).await.ok();
                assert_eq!(session["user_id"], format!("@{}:test", name.to_lowercase()));
                assert_eq!(session["home_server"], "test");
                let user = server.client().with_session(&session);
                let who = user.get("/_matrix/client/v3/account/whoami").await.ok();
                assert_eq!(who["device_id"], session["device_id"]);
                let user_id = UserId::parse(&user.user_id).unwrap();
                let user = server.state().accounts.users.find(&user_id).await.unwrap().unwrap();
                assert_eq!(user.is_admin, admin);
            }
        }

        async fn a_proof_is_valid_once_and_only_for_its_request(db: TestDatabase) {
            let server = start(db).await;
            let client = server.client();
            let good = request(&server, "alice", false).await;
            client.post(PATH, good.clone()).await.ok();
            client.post(PATH, good).await.refused(400, "M_UNKNOWN");
            let mut promoted = request(&server, "mallory", false).await;
            promoted["admin"] = true.into();
            client.post(PATH, promoted).await.refused(403, "M_FORBIDDEN");
        }

        async fn names_are_checked(db: TestDatabase) {
            let server = start(db).await;
            let invalid = request(&server, "us,er", false).await;
            server.client().post(PATH, invalid).await.refused(400, "M_INVALID_USERNAME");
        }

        async fn an_empty_password_is_no_password(db: TestDatabase) {
            let server = start(db).await;
            let empty = request_with(&server, "alice", "", false).await;
            server.client().post(PATH, empty).await.refused(400, "M_WEAK_PASSWORD");
        }

        async fn without_a_secret_it_is_closed(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.client().get(PATH).await.refused(400, "M_UNKNOWN");
        }

        async fn what_is_no_request_is_refused(db: TestDatabase) {
            let server = start(db).await;
            server.client().post(PATH, json!({ "nonce": 1 })).await.refused(400, "M_BAD_JSON");
            let broken = server.client().request(Method::POST, PATH).body("{").send().await;
            broken.refused(400, "M_NOT_JSON");
        }
    }
}
