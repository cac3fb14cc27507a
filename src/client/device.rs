//! A user's own devices.

pub(crate) mod get_device;
pub(crate) mod get_devices;

use ruma::{MilliSecondsSinceUnixEpoch, UInt, api::client::device::Device};

/// A device as its user sees it.
fn shown(device: stoa_accounts::Device) -> Device {
    let last_seen = device.last_seen_ms.and_then(|ms| UInt::try_from(ms).ok());
    let mut shown = Device::new(device.device_id);
    shown.display_name = device.display_name;
    shown.last_seen_ip = device.last_seen_address;
    shown.last_seen_ts = last_seen.map(MilliSecondsSinceUnixEpoch);
    shown
}
