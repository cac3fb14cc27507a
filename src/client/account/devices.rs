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
use stoa_accounts::Accounts;

use crate::http::{Answer, Error, Result, Ruma};

/// Lists the user's devices.
pub(crate) async fn get_devices(
    State(accounts): State<Arc<Accounts>>,
    Ruma { session, .. }: Ruma<get_devices::Request>,
) -> Result<Answer<get_devices::Response>> {
    let devices = accounts.devices(&session.user_id).await?;
    Ok(Answer(get_devices::Response::new(devices.into_iter().map(shown).collect())))
}

/// Describes one of the user's devices.
pub(crate) async fn get_device(
    State(accounts): State<Arc<Accounts>>,
    Ruma { session, body, .. }: Ruma<get_device::Request>,
) -> Result<Answer<get_device::Response>> {
    let device = accounts.device(&session.user_id, &body.device_id).await?;
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
