//! Ending sessions. A session is a device's: both go together.

use ruma::{DeviceId, UserId};
use stoa_base::Actor;
use stoa_storage::log::{
    AllDeviceRemovalsRow, Append, AppendError, AuditAction, AuditRow, DeviceRemovalRow, Stream,
};

use crate::{Accounts, Failure, sessions::guard_actor};

impl Accounts {
    /// Ends the session of the actor's device, and removes the device.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>
    pub async fn log_out(&self, actor: &Actor) -> Result<(), Failure> {
        let Some(device_id) = &actor.device_id else { return Ok(()) };
        let mut append = Append::new();
        append.touched.add(Stream::Sessions, &*actor.user_id);
        append.device_removals.push(DeviceRemovalRow {
            user_id: actor.user_id.to_string(),
            device_id: device_id.to_string(),
        });
        append.audit.push(ended(self.clock.now_ms(), actor, &actor.user_id, "logout"));
        self.end_sessions(actor, append).await
    }

    /// Ends all sessions of the actor, and removes all devices.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>
    pub async fn log_out_all(&self, actor: &Actor) -> Result<(), Failure> {
        let mut append = Append::new();
        let now_ms = self.clock.now_ms();
        end_all_devices(&mut append, now_ms, actor, &actor.user_id, None, "logout_all");
        self.end_sessions(actor, append).await
    }

    async fn end_sessions(&self, actor: &Actor, mut append: Append) -> Result<(), Failure> {
        guard_actor(&mut append, actor);
        match self.writer.append(append).await {
            // It has ended already, as was asked for.
            Ok(_) | Err(AppendError::SessionEnded) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Adds to an append that all devices of a user are removed but `kept`, for `reason`.
pub(crate) fn end_all_devices(
    append: &mut Append,
    now_ms: i64,
    actor: &Actor,
    user_id: &UserId,
    kept: Option<&DeviceId>,
    reason: &str,
) {
    append.touched.add(Stream::Sessions, user_id);
    append.all_device_removals.push(AllDeviceRemovalsRow {
        user_id: user_id.to_string(),
        except_device: kept.map(ToString::to_string),
    });
    let row = ended(now_ms, actor, user_id, reason).with("all", true);
    append.audit.push(match kept {
        Some(kept) => row.with("except_device", kept.as_str()),
        None => row,
    });
}

fn ended(now_ms: i64, actor: &Actor, user_id: &UserId, reason: &str) -> AuditRow {
    let row = AuditRow::new(now_ms, AuditAction::SessionEnded, actor, user_id.as_str());
    row.with("reason", reason)
}
