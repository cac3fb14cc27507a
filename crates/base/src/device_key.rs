//! A permanent name for a device.

use ruma::{DeviceId, UserId};

/// Identifies one device of a user permanently. No other device ever has the same key, although a
/// later one may have the same device ID. Transactions are stored under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKey(String);

impl DeviceKey {
    /// The key of a user's device. `generation` distinguishes it from earlier devices with the same
    /// ID; zero is left out of the key.
    pub fn new(user_id: &UserId, device_id: &DeviceId, generation: i64) -> Self {
        Self(match generation {
            0 => format!("{user_id} {device_id}"),
            // No device ID contains a control character.
            generation => format!("{user_id} {device_id}\n{generation}"),
        })
    }

    /// The key as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key that was read from storage.
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
