//! The user and device that ask for news.

use ruma::{OwnedUserId, UserId};
use stoa_base::{Allowance, DeviceKey};
use stoa_storage::log::Topic;

/// A user's device that asks for news.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The user.
    pub user_id: OwnedUserId,
    pub(crate) device: DeviceKey,
    /// The user's topic in the log.
    pub(crate) topic: Topic,
    /// How much memory the answer may take.
    pub(crate) allowance: Allowance,
}

impl Reader {
    /// A reader for this user and device, without a memory limit.
    pub fn new(user_id: &UserId, device: DeviceKey) -> Self {
        Self {
            user_id: user_id.to_owned(),
            device,
            topic: Topic::from(user_id),
            allowance: Allowance::unlimited(),
        }
    }

    /// The same reader, with a memory limit on the answer.
    #[must_use]
    pub fn within(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }
}
