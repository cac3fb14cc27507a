//! `POST /_matrix/client/v3/account/password`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::change_password::v3::{Request, Response};
use serde::Serialize;
use stoa_accounts::{InteractiveAnswer, InteractiveAuth, InteractiveRequest, Passwords, Stage};
use stoa_http::{Answer, Error, Result, Ruma};

/// The action that the user is asked to confirm.
#[derive(Serialize)]
struct Confirmed<'a> {
    new_password: &'a str,
    logout_devices: bool,
}

/// Sets a new password, once the user has entered the current one. Other devices are logged out
/// unless the client asks to keep them.
pub(crate) async fn change_password(
    State(interactive_auth): State<Arc<InteractiveAuth>>,
    State(passwords): State<Arc<Passwords>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let session = request.session.as_ref().ok_or_else(Error::missing_token)?;
    let body = &request.body;
    let confirmed =
        Confirmed { new_password: &body.new_password, logout_devices: body.logout_devices };
    let auth = interactive_auth
        .authenticate(&InteractiveRequest {
            operation: "account/password",
            user: Some(&session.user_id),
            body: &confirmed,
            flows: &[&[Stage::Password]],
            auth: body.auth.as_ref(),
            address: request.address,
        })
        .await?;
    if let InteractiveAnswer::Challenge(info) = auth {
        return Err(Error::interactive_auth(info));
    }
    let actor = session.actor(request.address);
    passwords.change(&actor, &body.new_password, body.logout_devices).await?;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stoa_testing::{PASSWORD, TestClient, TestResponse, TestServer, both_databases};

    const PATH: &str = "/_matrix/client/v3/account/password";
    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

    fn login(password: &str) -> Value {
        json!({ "type": "m.login.password", "user": "alice", "password": password })
    }

    fn auth(password: &str) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": "alice" },
            "password": password,
        })
    }

    /// Changes the password in both steps of interactive authentication.
    async fn change(client: &TestClient, mut request: Value, password: &str) -> TestResponse {
        let challenge = client.post(PATH, request.clone()).await;
        assert_eq!(challenge.status, 401);
        assert_eq!(challenge.json()["flows"], json!([{ "stages": ["m.login.password"] }]));
        request["auth"] = auth(password);
        request["auth"]["session"] = challenge.json()["session"].clone();
        client.post(PATH, request).await
    }

    both_databases! {
        async fn a_new_password_ends_the_other_sessions(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let phone = server.log_in(&alice).await;
            let request = json!({ "new_password": "new" });
            assert_eq!(change(&alice, request, PASSWORD).await.ok(), json!({}));
            alice.get(WHOAMI).await.ok();
            phone.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
            let path = "/_matrix/client/v3/login";
            server.client().post(path, login(PASSWORD)).await.refused(403, "M_FORBIDDEN");
            server.client().post(path, login("new")).await.ok();
        }

        async fn a_confirmed_change_is_done_once(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let mut request = json!({ "new_password": "new" });
            let challenge = alice.post(PATH, request.clone()).await;
            let session = challenge.json()["session"].clone();
            request["auth"] = auth(PASSWORD);
            request["auth"]["session"] = session.clone();
            alice.post(PATH, request.clone()).await.ok();
            change(&alice, json!({ "new_password": "newer" }), "new").await.ok();

            // Somebody who has recorded the request, with the password or without, cannot set the
            // old password again by repeating it.
            alice.post(PATH, request.clone()).await.refused(401, "M_FORBIDDEN");
            request["auth"] = json!({ "session": session });
            assert_eq!(alice.post(PATH, request).await.status, 401);
            let path = "/_matrix/client/v3/login";
            server.client().post(path, login("new")).await.refused(403, "M_FORBIDDEN");
            server.client().post(path, login("newer")).await.ok();
        }

        async fn an_empty_password_is_no_password(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let empty = change(&alice, json!({ "new_password": "" }), PASSWORD).await;
            empty.refused(400, "M_WEAK_PASSWORD");
            let path = "/_matrix/client/v3/login";
            server.client().post(path, login("")).await.refused(403, "M_FORBIDDEN");
            server.client().post(path, login(PASSWORD)).await.ok();
        }

        async fn other_sessions_can_be_kept(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let phone = server.log_in(&alice).await;
            let request = json!({ "new_password": "new", "logout_devices": false });
            change(&alice, request, PASSWORD).await.ok();
            phone.get(WHOAMI).await.ok();
        }

        async fn the_present_password_must_be_known(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let wrong = change(&alice, json!({ "new_password": "new" }), "wrong").await;
            wrong.refused(401, "M_FORBIDDEN");
            let path = "/_matrix/client/v3/login";
            server.client().post(path, login("new")).await.refused(403, "M_FORBIDDEN");
            let nobody = server.client().post(PATH, json!({ "new_password": "new" })).await;
            nobody.refused(401, "M_MISSING_TOKEN");
        }
    }
}
