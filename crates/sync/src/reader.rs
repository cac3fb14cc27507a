//! Who asks for news.

use ruma::{DeviceId, OwnedUserId, UserId};
use stoa_storage::log::Topic;

/// A user's device that asks for news.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The user.
    pub user_id: OwnedUserId,
    /// The user and device, as transactions name them.
    pub(crate) device: String,
    /// The user, as the log names them.
    pub(crate) topic: Topic,
}

impl Reader {
    /// The device of a user.
    pub fn new(user_id: &UserId, device_id: &DeviceId) -> Self {
        Self {
            user_id: user_id.to_owned(),
            device: format!("{user_id} {device_id}"),
            topic: Topic::from(user_id),
        }
    }
}
