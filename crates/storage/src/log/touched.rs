//! Names what a batch changed: enough to drop stale cache entries and to wake waiting readers.
//!
//! A node may read batches that a newer version has written. A stream that it does not know is read
//! as all the streams that it knows: whatever the node has of that room or user may have changed.
//! So a named stream says that something may have changed there, and never what. If a node does not
//! understand which room or user a change concerns, or the text as a whole, anything may have
//! changed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stoa_base::{Nid, RoomNid};

use super::stored::from_name;

macro_rules! streams {
    ($($(#[$doc:meta])* $stream:ident,)*) => {
        /// A kind of change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Stream {
            $($(#[$doc])* $stream,)*
        }

        impl Stream {
            /// Every stream.
            pub const ALL: &[Self] = &[$(Self::$stream,)*];
        }
    };
}

streams! {
    /// A room's timeline has a new event.
    Timeline,
    /// A room's current state changed.
    State,
    /// A user's membership of some room changed.
    Membership,
    /// An event of a room was redacted.
    Redaction,
    /// A room's receipts changed.
    Receipts,
    /// A user's account data changed, global or in a room.
    AccountData,
    /// Some of a user's sessions ended.
    Sessions,
    /// Some of a user's devices were created, renamed or removed.
    Devices,
    /// A user was erased: their events are shown redacted to some.
    Erasure,
}

/// The room or user that a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Topic {
    /// A room, by its internal number.
    Room(Nid),
    /// A user, by Matrix ID.
    User(String),
}

impl From<RoomNid> for Topic {
    fn from(room: RoomNid) -> Self {
        Self::Room(room.0)
    }
}

impl From<&ruma::UserId> for Topic {
    fn from(user: &ruma::UserId) -> Self {
        Self::User(user.to_string())
    }
}

/// The streams that a batch changed, each with the room or user concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Touched {
    changes: BTreeSet<(Stream, Topic)>,
    /// Whether one of the streams was unknown.
    #[serde(skip)]
    has_unknown: bool,
}

impl Touched {
    /// Adds a change.
    pub fn add(&mut self, stream: Stream, topic: impl Into<Topic>) {
        self.changes.insert((stream, topic.into()));
    }

    /// Adds all changes of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.changes.extend(other.changes.iter().cloned());
        self.has_unknown |= other.has_unknown;
    }

    /// Whether a newer version has changed something that this version does not know, so that the
    /// known changes are not all.
    pub fn has_unknown(&self) -> bool {
        self.has_unknown
    }

    /// The changes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Stream, &Topic)> {
        self.changes.iter().map(|(stream, topic)| (*stream, topic))
    }
}

/// Reads what a batch of any version changed; `None` if that can be anything.
pub(super) fn read(text: &str) -> Option<Touched> {
    let changes: Vec<(String, Value)> = serde_json::from_str(text).ok()?;
    let mut touched = Touched::default();
    for (stream, topic) in changes {
        let topic = match topic {
            Value::Number(room) => Topic::Room(room.as_i64()?),
            Value::String(user) => Topic::User(user),
            _ => return None,
        };
        if let Ok(stream) = from_name(&stream) {
            touched.add(stream, topic);
            continue;
        }
        touched.has_unknown = true;
        for &stream in Stream::ALL {
            touched.add(stream, topic.clone());
        }
    }
    Some(touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_changes_are_read_back() {
        let mut touched = Touched::default();
        for &stream in Stream::ALL {
            touched.add(stream, Topic::Room(7));
            touched.add(stream, Topic::User("@a:x".to_owned()));
        }
        assert_eq!(read(&serde_json::to_string(&touched).unwrap()), Some(touched));
        assert_eq!(read("[]"), Some(Touched::default()));
    }

    #[test]
    fn an_unknown_stream_may_be_any_stream_of_its_topic() {
        let touched = read(r#"[["rockets",7],["timeline",8]]"#).unwrap();
        let of = |room| touched.iter().filter(move |(_, topic)| **topic == Topic::Room(room));
        assert_eq!(of(7).map(|(stream, _)| stream).collect::<Vec<_>>(), Stream::ALL);
        assert_eq!(of(8).map(|(stream, _)| stream).collect::<Vec<_>>(), [Stream::Timeline]);
    }

    #[test]
    fn unknown_streams_are_reported() {
        assert!(read(r#"[["rockets",7],["timeline",8]]"#).unwrap().has_unknown());
        assert!(!read(r#"[["timeline",8]]"#).unwrap().has_unknown());
    }

    #[test]
    fn text_that_is_not_understood_may_mean_anything() {
        for text in [
            r#"[["timeline",{"server":"a"}]]"#,
            r#"[["timeline",null]]"#,
            r#"[["timeline",7.5]]"#,
            r#"[["timeline",7,"more"]]"#,
            r#"["timeline"]"#,
            r#"{"timeline":[7]}"#,
            "?",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
