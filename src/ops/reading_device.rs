//! For whom events are written.

use ruma::UserId;
use stoa_accounts::Session;
use stoa_base::DeviceKey;
use stoa_rooms::Recipient;

/// The device that reads.
pub(crate) struct ReadingDevice<'a> {
    user_id: &'a UserId,
    device: DeviceKey,
}

/// The device whose session it is.
pub(crate) fn reader(session: &Session) -> ReadingDevice<'_> {
    ReadingDevice { user_id: &session.user_id, device: session.device_key() }
}

impl ReadingDevice<'_> {
    /// Events are written with the room that they belong to.
    pub(crate) fn in_room(&self) -> Recipient<'_> {
        Recipient { user_id: self.user_id, device: Some(&self.device), with_room_id: true }
    }
}
