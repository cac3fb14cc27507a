//! Events as clients hold them.

use serde_json::{Map, Value, json};

/// An event without what depends on when and where it was read.
pub(super) fn plain(event: &Value) -> Value {
    let mut event = event.clone();
    let Some(fields) = event.as_object_mut() else { return event };
    fields.remove("room_id");
    if let Some(unsigned) = fields.get_mut("unsigned").and_then(Value::as_object_mut) {
        unsigned.remove("age");
        if let Some(because) = unsigned.get_mut("redacted_because") {
            *because = plain(because);
        }
    }
    event
}

/// The same of an event that stands for an entry of the state: one of a timeline says, beside, how
/// the reader stood to the room, and what the event replaced.
pub(super) fn plain_state(event: &Value) -> Value {
    let mut event = plain(event);
    if let Some(unsigned) = event["unsigned"].as_object_mut() {
        for beside in ["membership", "prev_content", "replaces_state"] {
            unsigned.remove(beside);
        }
    }
    event
}

/// The type and the key of a state event.
pub(super) fn entry(event: &Value) -> Option<(String, String)> {
    Some((event["type"].as_str()?.to_owned(), event["state_key"].as_str()?.to_owned()))
}

pub(super) fn id(event: &Value) -> &str {
    event["event_id"].as_str().unwrap_or_else(|| panic!("no event: {event}"))
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Does to an event what `redaction` demands.
pub(super) fn redact(event: &mut Value, redaction: &Value) {
    event["content"] = redacted_content(event);
    let mut because = plain(redaction);
    if let Some(unsigned) = because["unsigned"].as_object_mut() {
        unsigned.remove("membership");
    }
    event["unsigned"]["redacted_because"] = because;
}

/// What a redaction leaves of a content, of the types that are redacted here.
pub(super) fn redacted_content(event: &Value) -> Value {
    let mut left = Map::new();
    if event["type"] == "m.room.member" {
        left.insert("membership".to_owned(), event["content"]["membership"].clone());
    }
    Value::Object(left)
}

/// Whether what a client holds is what a new one is given.
///
/// A client is not told that what an event took the place of was redacted, and does not look there.
/// Nor is one who has left told of redactions: `has_left`.
pub(super) fn is_same(held: &Value, given: &Value, has_left: bool) -> bool {
    let (mut held, mut given) = (held.clone(), given.clone());
    if has_left && !given["unsigned"]["redacted_because"].is_null() {
        held["content"] = redacted_content(&held);
        for event in [&mut held, &mut given] {
            if let Some(unsigned) = event["unsigned"].as_object_mut() {
                unsigned.remove("redacted_because");
            }
        }
    }
    let before = |event: &Value| event["unsigned"]["prev_content"].clone();
    let redacted =
        redacted_content(&json!({ "type": held["type"].clone(), "content": before(&held) }));
    if before(&given) == redacted && !before(&held).is_null() {
        held["unsigned"]["prev_content"] = redacted;
    }
    held == given
}
