//! Logging out, which ends a session and removes its device.

use ruma::{DeviceId, UserId};
use stoa_base::Actor;
use stoa_storage::{
    log::{
        AccountState, AllDeviceRemovalsRow, Append, AppendError, AuditAction, AuditRow,
        DeviceChangeKind, DeviceRemovalRow, Guard, Stream,
    },
    repo::devices,
};

use super::{Sessions, session::guard_actor};
use crate::failure::Failure;

/// How often removing all devices is tried while the user keeps logging in on others.
const ATTEMPTS: usize = 5;

/// Which devices of a user to remove (all, or all but one), and why.
#[derive(Clone, Copy)]
pub(crate) struct EndOfDevices<'a> {
    /// Who removes them.
    pub(crate) actor: &'a Actor,
    /// The user who has the devices.
    pub(crate) user_id: &'a UserId,
    /// The device to keep, if any.
    pub(crate) kept: Option<&'a DeviceId>,
    /// The reason for the audit log.
    pub(crate) reason: &'a str,
}

impl Sessions {
    /// Ends the session of the actor's device, and removes the device.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn log_out(&self, actor: &Actor) -> Result<(), Failure> {
        let Some(device_id) = &actor.device_id else { return Ok(()) };
        let mut append = Append::new();
        guard_actor(&mut append, actor);
        append.touched.add(Stream::Sessions, &*actor.user_id);
        append.note_device_change(&actor.user_id, device_id, DeviceChangeKind::Removed);
        append.device_removals.push(DeviceRemovalRow {
            user_id: actor.user_id.to_string(),
            device_id: device_id.to_string(),
        });
        append.audit.push(ended(self.clock.now_ms(), actor, &actor.user_id, "logout"));
        unless_ended(self.writer.append(append).await.map(drop))
    }

    /// Ends all sessions of the actor, and removes all devices.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn log_out_all(&self, actor: &Actor) -> Result<(), Failure> {
        let end = EndOfDevices { actor, user_id: &actor.user_id, kept: None, reason: "logout_all" };
        match self.end_devices(Append::new(), end).await {
            Err(Failure::Append(error)) => unless_ended(Err(error)),
            outcome => outcome,
        }
    }

    /// Writes `append`, and in it removes a user's devices and ends their sessions.
    pub(crate) async fn end_devices(
        &self,
        append: Append,
        end: EndOfDevices<'_>,
    ) -> Result<(), Failure> {
        let EndOfDevices { actor, user_id, kept, reason } = end;
        let mut append = append;
        guard_actor(&mut append, actor);
        append.touched.add(Stream::Sessions, user_id);
        append.all_device_removals.push(AllDeviceRemovalsRow {
            user_id: user_id.to_string(),
            except_device: kept.map(ToString::to_string),
        });
        let row = ended(self.clock.now_ms(), actor, user_id, reason).with("all", true);
        append.audit.push(match kept {
            Some(kept) => row.with("except_device", kept.as_str()),
            None => row,
        });
        for _ in 0..ATTEMPTS {
            let mut append = append.clone();
            let devices = devices::list(&mut self.store.read().await?, user_id).await?;
            let devices: Vec<_> = devices.into_iter().map(|row| row.device_id).collect();
            for device_id in devices.iter().filter(|id| Some(&***id) != kept) {
                append.note_device_change(user_id, device_id, DeviceChangeKind::Removed);
            }
            // Each removed device is announced, so the list must still be complete when this is
            // written.
            let devices = devices.iter().map(ToString::to_string).collect();
            let state = AccountState::Devices(devices);
            append.guards.push(Guard::Account(user_id.to_string(), state));
            match self.writer.append(append).await {
                Err(AppendError::AccountChanged) => {}
                written => return Ok(written.map(drop)?),
            }
        }
        Err(AppendError::AccountChanged.into())
    }
}

/// Treats it as success if the session had already ended.
fn unless_ended(written: Result<(), AppendError>) -> Result<(), Failure> {
    match written {
        Ok(()) | Err(AppendError::SessionEnded) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn ended(now_ms: i64, actor: &Actor, user_id: &UserId, reason: &str) -> AuditRow {
    let row = AuditRow::new(now_ms, AuditAction::SessionEnded, actor, user_id.as_str());
    row.with("reason", reason)
}
