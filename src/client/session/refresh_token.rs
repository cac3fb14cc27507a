//! `POST /_matrix/client/v3/refresh`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    api::client::session::refresh_token::v3::{Request, Response},
    assign,
};
use stoa_accounts::Sessions;
use stoa_http::{Answer, Result, Ruma};

/// Exchanges a refresh token for new tokens.
pub(crate) async fn refresh_token(
    State(sessions): State<Arc<Sessions>>,
    Ruma { body, address, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let tokens = sessions.refresh(&body.refresh_token, address).await?;
    Ok(Answer(assign!(Response::new(tokens.access_token), {
        refresh_token: tokens.refresh_token,
        expires_in_ms: tokens.expires_in,
    })))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use stoa_base::ManualClock;
    use stoa_testing::{PASSWORD, TestServer, both_databases, in_room};

    const LOGIN: &str = "/_matrix/client/v3/login";
    const PATH: &str = "/_matrix/client/v3/refresh";
    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

    both_databases! {
        async fn tokens_are_renewed_and_the_device_stays(db: TestDatabase) {
            let clock = ManualClock::at(1_700_000_000_000);
            let time = clock.clone();
            let server = TestServer::start_with(db, |_, environment| {
                environment.clock = time.into();
            })
            .await;
            let alice = server.register("alice").await;
            let request = json!({
                "type": "m.login.password", "user": "alice", "password": PASSWORD,
                "refresh_token": true,
            });
            let client = server.client();
            let session = client.post(LOGIN, request).await.ok();
            let device_path =
                format!("/_matrix/client/v3/devices/{}", session["device_id"].as_str().unwrap());
            let lifetime = session["expires_in_ms"].as_u64().unwrap();
            let phone = client.with_session(&session);
            clock.advance(Duration::from_millis(lifetime + 1));
            let expired = phone.get(WHOAMI).await;
            expired.refused(401, "M_UNKNOWN_TOKEN");
            assert_eq!(expired.json()["soft_logout"], true);

            let old = json!({ "refresh_token": session["refresh_token"] });
            let renewed = client.post(PATH, old.clone()).await.ok();
            assert_ne!(renewed["access_token"], session["access_token"]);
            assert_ne!(renewed["refresh_token"], session["refresh_token"]);
            let who = client.with_session(&renewed).get(WHOAMI).await.ok();
            assert_eq!(who["device_id"], session["device_id"]);
            assert_eq!(who["user_id"], alice.user_id.as_str());
            // The first use of a new token ends the old ones.
            let copied = client.post(PATH, old).await;
            copied.refused(401, "M_UNKNOWN_TOKEN");
            // A client that has lost the new tokens keeps its device.
            assert_eq!(copied.json()["soft_logout"], true);
            let ended = client.with_session(&renewed).get(WHOAMI).await;
            ended.refused(401, "M_UNKNOWN_TOKEN");
            assert_eq!(ended.json()["soft_logout"], true);
            assert_eq!(alice.get(&device_path).await.ok()["device_id"], session["device_id"]);
        }

        async fn a_device_keeps_its_transactions_after_a_refresh(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.register("alice").await;
            let request = json!({
                "type": "m.login.password", "user": "alice", "password": PASSWORD,
                "refresh_token": true,
            });
            let session = server.client().post(LOGIN, request).await.ok();
            let phone = server.client().with_session(&session);
            let room = phone.create_room(json!({})).await;
            let path = in_room(&room, "send/m.room.message/1");
            let sent = phone.put(&path, json!({ "body": "x" })).await.ok();
            let old = json!({ "refresh_token": session["refresh_token"] });
            let renewed = phone.post(PATH, old).await.ok();
            let phone = phone.with_token(renewed["access_token"].as_str().unwrap());

            let synced = phone.get("/_matrix/client/v3/sync").await.ok();
            let timeline = synced["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap();
            let event = timeline.last().unwrap();
            assert_eq!(event["event_id"], sent["event_id"]);
            assert_eq!(event["unsigned"]["transaction_id"], "1");
            assert_eq!(phone.put(&path, json!({ "body": "x" })).await.ok(), sent);
        }

        async fn an_unknown_token_is_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let request = json!({ "refresh_token": "made up" });
            server.client().post(PATH, request).await.refused(401, "M_UNKNOWN_TOKEN");
            server.client().post(PATH, json!({})).await.refused(400, "M_BAD_JSON");
        }
    }
}
