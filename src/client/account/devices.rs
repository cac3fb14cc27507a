//! `GET /_matrix/client/v3/devices`, `GET /_matrix/client/v3/devices/{deviceId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices>,
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::device::{Device, get_device::v3 as get_device, get_devices::v3 as get_devices},
};
use stoa_accounts::Devices;
use stoa_http::{Answer, Error, Result, Ruma};

/// Lists the user's devices.
pub(crate) async fn get_devices(
    State(devices): State<Arc<Devices>>,
    Ruma { session, .. }: Ruma<get_devices::Request>,
) -> Result<Answer<get_devices::Response>> {
    let devices = devices.list(&session.user_id).await?;
    Ok(Answer(get_devices::Response::new(devices.into_iter().map(shown).collect())))
}

/// Describes one of the user's devices.
pub(crate) async fn get_device(
    State(devices): State<Arc<Devices>>,
    Ruma { session, body, .. }: Ruma<get_device::Request>,
) -> Result<Answer<get_device::Response>> {
    let device = devices.get(&session.user_id, &body.device_id).await?;
    let device = device.ok_or_else(|| Error::not_found("You have no such device."))?;
    Ok(Answer(get_device::Response::new(shown(device))))
}

fn shown(device: stoa_accounts::Device) -> Device {
    let last_seen = device.last_seen_ms.and_then(|ms| UInt::try_from(ms).ok());
    let mut shown = Device::new(device.device_id);
    shown.display_name = device.display_name;
    shown.last_seen_ip = device.last_seen_address;
    shown.last_seen_ts = last_seen.map(MilliSecondsSinceUnixEpoch);
    shown
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Method};
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn devices_are_the_users_own(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let bob = server.register("bob").await;
            let devices = alice.get("/_matrix/client/v3/devices").await.ok();
            let devices = devices["devices"].as_array().unwrap().clone();
            assert_eq!(devices.len(), 1);
            assert_eq!(devices[0]["device_id"], alice.device_id.as_str());
            let path = format!("/_matrix/client/v3/devices/{}", alice.device_id);
            assert_eq!(alice.get(&path).await.ok()["device_id"], alice.device_id.as_str());
            bob.get(&path).await.refused(404, "M_NOT_FOUND");
        }

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
