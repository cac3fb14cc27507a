//! `event_fields`: reduces events to the fields that a client wants.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter_request_filter>

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

/// How deeply a field may be nested. No event is nested deeper than 100 levels.
const MAX_DEPTH: usize = 128;

/// The fields of events that a client wants.
#[derive(Debug, PartialEq, Eq)]
pub struct EventFields(Fields);

/// The wanted parts of an object, by field.
type Fields = BTreeMap<String, Wanted>;

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// The whole field.
    Whole,
    /// Parts of the object in this field.
    Parts(Fields),
}

impl EventFields {
    /// The fields that a filter names. None if it names none, in which case all fields are wanted.
    pub fn of(paths: Option<&[String]>) -> Option<Self> {
        let paths = paths.filter(|paths| !paths.is_empty())?;
        let mut fields = Fields::new();
        for path in paths {
            add(&mut fields, split(path));
        }
        Some(Self(fields))
    }

    /// Reduces an event to the wanted fields that it has.
    pub(crate) fn pick(&self, event: &RawValue) -> Box<RawValue> {
        // An event is an object, and serializing what was just parsed does not fail.
        pick(event, &self.0).unwrap_or_else(|| event.to_owned())
    }
}

fn add(mut fields: &mut Fields, path: Vec<String>) {
    if path.len() > MAX_DEPTH {
        return;
    }
    let mut path = path.into_iter().peekable();
    while let Some(name) = path.next() {
        if path.peek().is_none() {
            fields.insert(name, Wanted::Whole);
            return;
        }
        match fields.entry(name).or_insert_with(|| Wanted::Parts(Fields::new())) {
            Wanted::Whole => return,
            Wanted::Parts(parts) => fields = parts,
        }
    }
}

/// Splits a path into names. They are separated by dots. A backslash escapes a dot or a backslash;
/// before anything else it stands for itself.
fn split(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = path.chars().peekable();
    while let Some(character) = rest.next() {
        let escaped = rest.next_if(|next| character == '\\' && matches!(next, '.' | '\\'));
        match (escaped, character, names.last_mut()) {
            (None, '.', _) => names.push(String::new()),
            (escaped, character, Some(name)) => name.push(escaped.unwrap_or(character)),
            (_, _, None) => {}
        }
    }
    names
}

/// The wanted part of an object, or none if the value is not an object.
fn pick(object: &RawValue, fields: &Fields) -> Option<Box<RawValue>> {
    let object: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object.get()).ok()?;
    let picked: BTreeMap<&str, Cow<'_, RawValue>> = fields
        .iter()
        .filter_map(|(name, wanted)| {
            let value = *object.get(name.as_str())?;
            let picked = match wanted {
                Wanted::Whole => Cow::Borrowed(value),
                Wanted::Parts(parts) => Cow::Owned(pick(value, parts)?),
            };
            Some((name.as_str(), picked))
        })
        .collect();
    serde_json::value::to_raw_value(&picked).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn picked(paths: &[&str]) -> Value {
        let event = json!({
            "type": "m.room.message",
            "content": {
                "body": "hello", "m.relates_to": { "event_id": "$x", "rel_type": "m.thread" },
                "a\\b": 1, "list": [{ "x": 1 }],
            },
            "sender": "@a:x",
        });
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let fields = EventFields::of(Some(&paths)).unwrap();
        let event = serde_json::value::to_raw_value(&event).unwrap();
        serde_json::from_str(fields.pick(&event).get()).unwrap()
    }

    #[test]
    fn fields_are_named_by_paths() {
        assert_eq!(picked(&["type"]), json!({ "type": "m.room.message" }));
        assert_eq!(picked(&["content.body"]), json!({ "content": { "body": "hello" } }));
        let relation = json!({ "content": { "m.relates_to": { "event_id": "$x" } } });
        assert_eq!(picked(&[r"content.m\.relates_to.event_id"]), relation);
        assert_eq!(picked(&[r"content.a\\b"]), json!({ "content": { "a\\b": 1 } }));
        assert_eq!(picked(&[r"content.a\b"]), json!({ "content": { "a\\b": 1 } }));
        let both = json!({ "sender": "@a:x", "content": { "body": "hello" } });
        assert_eq!(picked(&["content.body", "sender"]), both);
    }

    #[test]
    fn the_wider_of_two_paths_wins() {
        let whole = picked(&["content"]);
        assert_eq!(whole["content"]["list"], json!([{ "x": 1 }]));
        assert_eq!(picked(&["content", "content.body"]), whole);
        assert_eq!(picked(&["content.body", "content"]), whole);
    }

    #[test]
    fn fields_that_the_event_lacks_are_left_out() {
        for path in ["x", "x.y", "type.x", "content.list.x", "content.m.relates_to", "", "."] {
            let content = picked(&[path]);
            assert!(content == json!({}) || content == json!({ "content": {} }), "{content}");
        }
        assert_eq!(picked(&[&"x.".repeat(10_000)]), json!({}));
        assert_eq!(EventFields::of(None), None);
        assert_eq!(EventFields::of(Some(&[])), None);
    }
}
