//! Events as clients hold them.

use serde_json::{Map, Value, json};

/// An event without the parts that depend on when and where it was read.
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

/// The same for a state event. In a timeline it also has the reader's membership and what the event
/// replaced, which are removed.
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

/// Applies a redaction to an event.
pub(super) fn redact(event: &mut Value, redaction: &Value) {
    event["content"] = redacted_content(event);
    let mut because = plain(redaction);
    if let Some(unsigned) = because["unsigned"].as_object_mut() {
        unsigned.remove("membership");
    }
    event["unsigned"]["redacted_because"] = because;
}

/// The content that remains after a redaction, for the types that are redacted here.
pub(super) fn redacted_content(event: &Value) -> Value {
    let mut left = Map::new();
    if event["type"] == "m.room.member" {
        left.insert("membership".to_owned(), event["content"]["membership"].clone());
    }
    Value::Object(left)
}

/// Whether the event that a client has equals the one that a new client gets.
///
/// A client is not told that the event replaced by a state event was redacted, and does not look
/// there. Nor are users who have left (`has_left`) sent redactions.
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
