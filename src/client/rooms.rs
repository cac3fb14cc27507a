//! Rooms.

pub(crate) mod ban;
pub(crate) mod context;
pub(crate) mod create_room;
pub(crate) mod forget;
pub(crate) mod get_event;
pub(crate) mod get_state;
pub(crate) mod get_state_event;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
pub(crate) mod kick;
pub(crate) mod knock;
pub(crate) mod lazy_members;
pub(crate) mod leave;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod redact;
pub(crate) mod send;
pub(crate) mod set_state;
pub(crate) mod unban;

use ruma::{CanonicalJsonObject, CanonicalJsonValue};
use stoa_http::{Error, Result};

/// The reason that a body gives for what it asks for.
fn take_reason(body: &mut CanonicalJsonObject) -> Result<Option<String>> {
    match body.remove("reason") {
        None | Some(CanonicalJsonValue::Null) => Ok(None),
        Some(CanonicalJsonValue::String(reason)) => Ok(Some(reason)),
        Some(_) => Err(Error::bad_json("`reason` is a text.")),
    }
}
