//! `GET /_matrix/client/v3/devices/{deviceId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::device::get_device::v3::{Request, Response};
use stoa_accounts::Devices;
use stoa_http::{Answer, Error, Result, Ruma};

use super::shown;

/// Returns one of the user's devices.
pub(crate) async fn get_device(
    State(devices): State<Arc<Devices>>,
    Ruma { session, body, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let device = devices.get(&session.user_id, &body.device_id).await?;
    let device = device.ok_or_else(|| Error::not_found("You have no such device."))?;
    Ok(Answer(Response::new(shown(device))))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Method};
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn a_device_is_seen_at_the_address_behind_the_proxy(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let who = alice.request(Method::GET, "/_matrix/client/v3/account/whoami");
            let forwarded = HeaderName::from_static("x-forwarded-for");
            who.header(forwarded, "198.51.100.1, 203.0.113.9").send().await.ok();
            server.state().accounts.sessions.flush_last_seen().await.unwrap();
            let path = format!("/_matrix/client/v3/devices/{}", alice.device_id);
            let stranger = alice.request(Method::GET, &path).from("203.0.113.9:1".parse().unwrap());
            let device = stranger.send().await.ok();
            assert_eq!(device["last_seen_ip"], "203.0.113.9");
            assert!(device["last_seen_ts"].is_u64(), "{device}");
        }
    }
}
