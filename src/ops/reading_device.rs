//! The device for which events are written.

use ruma::UserId;
use stoa_accounts::Session;
use stoa_base::DeviceKey;
use stoa_rooms::Recipient;

/// The reading device.
pub(crate) struct ReadingDevice<'a> {
    user_id: &'a UserId,
    device: DeviceKey,
}

/// The device whose session it is.
pub(crate) fn reader(session: &Session) -> ReadingDevice<'_> {
    ReadingDevice { user_id: &session.user_id, device: session.device_key() }
}

impl ReadingDevice<'_> {
    /// Events contain their `room_id`.
    pub(crate) fn in_room(&self) -> Recipient<'_> {
        Recipient { user_id: self.user_id, device: Some(&self.device), with_room_id: true }
    }
}
