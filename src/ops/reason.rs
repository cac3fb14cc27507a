//! The `reason` of a membership change.

use ruma::{CanonicalJsonObject, CanonicalJsonValue};
use stoa_http::{Error, Result};

/// Takes the reason out of a body, if it gives one.
pub(crate) fn take_reason(body: &mut CanonicalJsonObject) -> Result<Option<String>> {
    match body.remove("reason") {
        None | Some(CanonicalJsonValue::Null) => Ok(None),
        Some(CanonicalJsonValue::String(reason)) => Ok(Some(reason)),
        Some(_) => Err(Error::bad_json("`reason` must be a string.")),
    }
}
