//! The content of events that this server builds.

use ruma::{CanonicalJsonObject, CanonicalJsonValue};

/// Sets a key of a content to a string, or removes it.
pub(crate) fn put(content: &mut CanonicalJsonObject, key: &str, value: Option<&str>) {
    match value {
        Some(value) => {
            content.insert(key.to_owned(), CanonicalJsonValue::String(value.to_owned()));
        }
        None => {
            content.remove(key);
        }
    }
}
