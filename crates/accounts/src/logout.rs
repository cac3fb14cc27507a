//! Ending sessions. A session is a device's: both go together.

use ruma::{OwnedDeviceId, UserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{Append, DeviceChangeKind, DeviceRemovalRow, Stream},
    repo::devices,
};

use crate::{Accounts, Failure};

impl Accounts {
    /// Ends the session of the actor's device, and removes the device.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>
    pub async fn log_out(&self, actor: &Actor) -> Result<(), Failure> {
        self.end_devices(&actor.user_id, actor.device_id.iter().cloned()).await
    }

    /// Ends all sessions of the actor, and removes all devices.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>
    pub async fn log_out_all(&self, actor: &Actor) -> Result<(), Failure> {
        self.end_devices_except(&actor.user_id, None).await
    }

    /// Removes all devices of a user but `kept`.
    pub(crate) async fn end_devices_except(
        &self,
        user_id: &UserId,
        kept: Option<&OwnedDeviceId>,
    ) -> Result<(), Failure> {
        let found = devices::list(&mut self.store.read().await?, user_id).await?;
        let ended = found.into_iter().map(|row| row.device_id).filter(|id| Some(id) != kept);
        self.end_devices(user_id, ended).await
    }

    /// Removes devices of a user, and ends their sessions.
    pub(crate) async fn end_devices(
        &self,
        user_id: &UserId,
        ended: impl IntoIterator<Item = OwnedDeviceId>,
    ) -> Result<(), Failure> {
        let mut append = Append::new();
        append.touched.add(Stream::Sessions, user_id);
        for device_id in ended {
            append.note_device_change(user_id, &device_id, DeviceChangeKind::Removed);
            append.device_removals.push(DeviceRemovalRow {
                user_id: user_id.to_string(),
                device_id: device_id.to_string(),
            });
        }
        if !append.device_removals.is_empty() {
            self.writer.append(append).await?;
        }
        Ok(())
    }
}
