//! What names a device for good.

use ruma::{DeviceId, UserId};

/// A user's device, by a name that no other device ever had or will have, though a later one may have
/// the same ID. Transactions are kept under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKey(String);

impl DeviceKey {
    /// The device of a user. `generation` tells it from earlier ones with the same ID; zero is left out.
    pub fn new(user_id: &UserId, device_id: &DeviceId, generation: i64) -> Self {
        Self(match generation {
            0 => format!("{user_id} {device_id}"),
            // No device ID holds a control character.
            generation => format!("{user_id} {device_id}\n{generation}"),
        })
    }

    /// The key as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key that was stored.
impl From<String> for DeviceKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl From<DeviceKey> for String {
    fn from(key: DeviceKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, user_id};

    use super::*;

    #[test]
    fn keys_are_written_as_they_have_always_been_stored() {
        let key = |generation| DeviceKey::new(user_id!("@a:x"), device_id!("D"), generation);
        assert_eq!(key(0).as_str(), "@a:x D");
        assert_eq!(key(7).as_str(), "@a:x D\n7");
    }
}
