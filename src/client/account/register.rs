//! `POST /_matrix/client/v3/register`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::register::{
    LoginType, RegistrationKind,
    v3::{Request, Response},
};
use stoa_accounts::{NewDevice, RegisterAnswer, RegisterRequest, Registrar};
use stoa_http::{Answer, Error, Result, Ruma};

/// Creates an account, after the client has passed interactive authentication.
pub(crate) async fn register(
    State(registrar): State<Arc<Registrar>>,
    Ruma { body, address, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    if body.kind != RegistrationKind::User {
        return Err(Error::forbidden("Guest accounts are not supported."));
    }
    if let Some(LoginType::ApplicationService) = body.login_type {
        return Err(Error::forbidden("Only application services can use this login type."));
    }
    let answer = registrar
        .register(RegisterRequest {
            username: body.username.as_deref(),
            password: body.password.as_deref(),
            device: NewDevice {
                device_id: body.device_id.as_deref(),
                display_name: body.initial_device_display_name.as_deref(),
                refreshable: body.refresh_token,
            },
            inhibit_login: body.inhibit_login,
            auth: body.auth.as_ref(),
            address,
        })
        .await?;
    let registered = match answer {
        RegisterAnswer::Challenge(info) => return Err(Error::interactive_auth(info)),
        RegisterAnswer::Registered(registered) => registered,
    };
    let mut response = Response::new(registered.user_id);
    if let Some(session) = registered.session {
        response.device_id = Some(session.device_id);
        response.access_token = Some(session.tokens.access_token);
        response.refresh_token = session.tokens.refresh_token;
        response.expires_in = session.tokens.expires_in;
    }
    Ok(Answer(response))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};
    use stoa_config::Config;
    use stoa_testing::{Environment, TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/register";

    fn request(username: &str, password: &str) -> Value {
        let auth = json!({ "type": "m.login.dummy" });
        json!({ "auth": auth, "username": username, "password": password })
    }

    both_databases! {
        async fn the_client_is_asked_to_authenticate(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let answer = server.client().post(PATH, json!({})).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.headers["content-type"], "application/json");
            let body = answer.json();
            assert_eq!(body["flows"], json!([{ "stages": ["m.login.dummy"] }]));
            assert!(body["session"].is_string(), "{body}");
            assert!(body.get("errcode").is_none(), "{body}");
        }

        async fn an_account_is_made_in_one_request(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let mut request = request("alice", "superuser");
            request["device_id"] = "laptop".into();
            let session = server.client().post(PATH, request).await.ok();
            assert_eq!(session["user_id"], "@alice:test");
            assert_eq!(session["device_id"], "laptop");
            let alice = server.client().with_session(&session);
            alice.get("/_matrix/client/v3/account/whoami").await.ok();
        }

        async fn an_account_is_made_in_two_steps(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let mut request = json!({
                "username": "alice",
                "password": "Şifre – 密码",
                "device_id": "laptop",
                "initial_device_display_name": "Laptop",
            });
            let challenge = server.client().post(PATH, request.clone()).await;
            assert_eq!(challenge.status, 401);
            request["auth"] =
                json!({ "type": "m.login.dummy", "session": challenge.json()["session"] });
            let session = server.client().post(PATH, request.clone()).await.ok();
            assert!(session["access_token"].is_string());
            let login = json!({
                "type": "m.login.password", "user": "alice", "password": "Şifre – 密码",
            });
            server.client().post("/_matrix/client/v3/login", login).await.ok();
        }

        async fn an_empty_password_is_no_password(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.client().post(PATH, request("alice", "")).await.refused(400, "M_WEAK_PASSWORD");
            let missing = json!({ "username": "alice", "auth": { "type": "m.login.dummy" } });
            server.client().post(PATH, missing).await.refused(400, "M_MISSING_PARAM");
            server.client().post(PATH, request("alice", "x")).await.ok();
        }

        async fn names_are_lower_case_with_some_punctuation(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let client = server.client();
            let upper = client.post(PATH, request("user-UPPER", "x")).await.ok();
            assert_eq!(upper["user_id"], "@user-upper:test");
            for sign in ["q", "3", ".", "_", "=", "-", "/"] {
                let name = format!("user-{sign}-x/");
                let session = client.post(PATH, request(&name, "x")).await.ok();
                assert_eq!(session["user_id"], format!("@{name}:test"));
                let user = client.with_session(&session);
                user.get("/_matrix/client/v3/account/whoami").await.ok();
            }
            for sign in ["!", "\"", ":", "?", "\\", "@", "[", "]", "{", "|", "}", "£", "é", "\n", "'"] {
                let answer = client.post(PATH, request(&format!("user-{sign}-x"), "x")).await;
                answer.refused(400, "M_INVALID_USERNAME");
            }
        }

        async fn a_name_is_taken_once(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.register("alice").await;
            let again = server.client().post(PATH, request("alice", "another")).await;
            again.refused(400, "M_USER_IN_USE");
        }

        async fn without_a_name_one_is_given(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let auth = json!({ "type": "m.login.dummy" });
            let request = json!({ "auth": auth, "password": "x" });
            let session = server.client().post(PATH, request).await.ok();
            let user_id = session["user_id"].as_str().unwrap();
            assert!(user_id.starts_with('@') && user_id.ends_with(":test"), "{user_id}");
        }

        async fn inhibit_login_creates_no_session(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let mut request = request("alice", "x");
            request["inhibit_login"] = true.into();
            let answer = server.client().post(PATH, request).await.ok();
            assert_eq!(answer["user_id"], "@alice:test");
            assert!(answer.get("access_token").is_none(), "{answer}");
        }

        async fn guests_and_application_services_are_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let guest = server.client().post(&format!("{PATH}?kind=guest"), json!({})).await;
            guest.refused(403, "M_FORBIDDEN");
            let mut bridge = request("alice", "x");
            bridge["type"] = "m.login.application_service".into();
            server.client().post(PATH, bridge).await.refused(403, "M_FORBIDDEN");
        }

        async fn registration_can_be_closed(db: TestDatabase) {
            let closed = |config: &mut Config, _: &mut Environment| {
                config.registration.enabled = false;
            };
            let server = TestServer::start_with(db, closed).await;
            let answer = server.client().post(PATH, request("alice", "x")).await;
            answer.refused(403, "M_FORBIDDEN");
        }

        async fn a_body_that_is_no_text_is_no_json(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let body = b"{\"username\":\"al\x81ice\",\"password\":\"x\"}";
            let answer = server.client().request(Method::POST, PATH).body(*body).send().await;
            answer.refused(400, "M_NOT_JSON");
        }
    }
}
