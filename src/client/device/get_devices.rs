//! `GET /_matrix/client/v3/devices`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::device::get_devices::v3::{Request, Response};
use stoa_accounts::Devices;
use stoa_http::{Answer, Result, Ruma};

use super::shown;

/// Lists the user's devices.
pub(crate) async fn get_devices(
    State(devices): State<Arc<Devices>>,
    Ruma { session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let devices = devices.list(&session.user_id).await?;
    Ok(Answer(Response::new(devices.into_iter().map(shown).collect())))
}

#[cfg(test)]
mod tests {
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
    }
}
