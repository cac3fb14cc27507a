//! A user's devices.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#device-management>

use ruma::{DeviceId, UserId};
use stoa_storage::{Store, repo::devices};

/// A device of a user.
pub use stoa_storage::repo::devices::DeviceRow as Device;

use crate::failure::Failure;

/// The devices of local users.
#[derive(Debug)]
pub struct Devices {
    pub(crate) store: Store,
}

impl Devices {
    /// A user's devices, ordered by ID.
    pub async fn list(&self, user_id: &UserId) -> Result<Vec<Device>, Failure> {
        Ok(devices::list(&mut self.store.read().await?, user_id).await?)
    }

    /// One of a user's devices.
    pub async fn get(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<Device>, Failure> {
        if !can_be_stored(device_id) {
            return Ok(None);
        }
        Ok(devices::find(&mut self.store.read().await?, user_id, device_id).await?)
    }
}

/// PostgreSQL does not accept a NUL in a text value; no device has one in its ID.
fn can_be_stored(device_id: &DeviceId) -> bool {
    !device_id.as_str().contains('\0')
}
