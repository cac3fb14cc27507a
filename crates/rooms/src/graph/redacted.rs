//! Redacted events.

use ruma::{
    CanonicalJsonObject, canonical_json::redact_in_place, room_version_rules::RoomVersionRules,
};
use stoa_storage::Error;

use crate::{
    error::{Result, RoomError},
    graph::pdu::Pdu,
};

/// The text of an event after redaction: without what a redaction removes.
pub(crate) fn redacted_json(pdu: &Pdu, rules: &RoomVersionRules) -> Result<String> {
    let mut object: CanonicalJsonObject =
        serde_json::from_str(pdu.json()).map_err(Error::corrupt)?;
    redact_in_place(&mut object, &rules.redaction, None)
        .map_err(|error| RoomError::BadJson(error.to_string()))?;
    Ok(serde_json::to_string(&object).map_err(Error::corrupt)?)
}
