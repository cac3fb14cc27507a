//! Filters: which events a client wants, and which of their fields.
//!
//! Filters borrow their lists, so that each kind of sync can build them from what its clients send
//! without copying.

mod event_fields;

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId,
    api::client::filter::{Filter, RoomEventFilter, UrlFilter},
};
use serde_json::value::RawValue;
use stoa_rooms::Event;

pub use self::event_fields::EventFields;

/// Selects events. An event has to pass every part.
#[derive(Debug)]
pub struct EventFilter<'a> {
    /// The rooms that the events are in.
    pub rooms: Listed<'a, OwnedRoomId>,
    /// Their types, in which `*` stands for any sequence of characters.
    pub types: Listed<'a, String>,
    /// Who sent them.
    pub senders: Listed<'a, OwnedUserId>,
    /// Whether events must have a `url` in their content (`true`) or must not (`false`).
    pub has_url: Option<bool>,
}

/// A list of what is allowed and a list of what is not. Exclusion wins over inclusion.
#[derive(Debug)]
pub struct Listed<'a, T> {
    /// If set, only these are allowed. None: everything is.
    pub only: Option<&'a [T]>,
    /// These are not allowed.
    pub not: &'a [T],
}

impl<T> Listed<'_, T> {
    /// Allows everything.
    pub const ALL: Self = Self { only: None, not: &[] };
    /// Allows nothing.
    pub const NONE: Self = Self { only: Some(&[]), not: &[] };

    /// Whether the item that `is_it` recognizes in the lists is allowed.
    pub(crate) fn allows(&self, is_it: impl Fn(&T) -> bool) -> bool {
        !self.not.iter().any(&is_it) && self.only.is_none_or(|only| only.iter().any(&is_it))
    }

    const fn is_all(&self) -> bool {
        self.only.is_none() && self.not.is_empty()
    }

    fn is_none(&self) -> bool {
        self.only.is_some_and(<[T]>::is_empty)
    }
}

impl EventFilter<'_> {
    /// Lets every event through.
    pub const ALL: Self =
        Self { rooms: Listed::ALL, types: Listed::ALL, senders: Listed::ALL, has_url: None };
    /// Lets nothing through.
    pub const NOTHING: Self = Self { rooms: Listed::NONE, ..Self::ALL };

    /// Whether the filter lets anything of this room through.
    pub fn is_about(&self, room_id: &RoomId) -> bool {
        self.rooms.allows(|listed| listed == room_id)
    }

    /// Whether an event passes, given that the filter [is about](Self::is_about) its room.
    pub fn passes_event(&self, event: &Event) -> bool {
        (self.types.is_all() || self.passes_type(&event.pdu.event_type.to_string()))
            && self.senders.allows(|listed| *listed == event.pdu.sender)
            && self.has_url.is_none_or(|wanted| wanted == has_url(&event.pdu.content))
    }

    /// Whether an event without a sender, such as account data, passes.
    pub(crate) fn passes_type(&self, kind: &str) -> bool {
        self.types.allows(|pattern| matches(pattern, kind))
    }

    /// Whether every event passes in a room that the filter is about.
    pub(crate) fn passes_all(&self) -> bool {
        self.types.is_all() && self.senders.is_all() && self.has_url.is_none()
    }

    /// Whether no event passes, whatever its room.
    pub(crate) fn passes_none(&self) -> bool {
        self.types.is_none() || self.senders.is_none()
    }
}

/// <https://spec.matrix.org/v1.19/client-server-api/#filtering>
impl<'a> From<&'a RoomEventFilter> for EventFilter<'a> {
    fn from(filter: &'a RoomEventFilter) -> Self {
        Self {
            rooms: Listed { only: filter.rooms.as_deref(), not: &filter.not_rooms },
            types: Listed { only: filter.types.as_deref(), not: &filter.not_types },
            senders: Listed { only: filter.senders.as_deref(), not: &filter.not_senders },
            has_url: filter.url_filter.map(|wanted| wanted == UrlFilter::EventsWithUrl),
        }
    }
}

/// <https://spec.matrix.org/v1.19/client-server-api/#filtering>
impl<'a> From<&'a Filter> for EventFilter<'a> {
    fn from(filter: &'a Filter) -> Self {
        Self {
            types: Listed { only: filter.types.as_deref(), not: &filter.not_types },
            senders: Listed { only: filter.senders.as_deref(), not: &filter.not_senders },
            ..Self::ALL
        }
    }
}

fn has_url(content: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Content {
        url: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Content>(content.get()).is_ok_and(|content| content.url.is_some())
}

/// Whether a type matches a pattern, in which `*` stands for any sequence of characters.
fn matches(pattern: &str, kind: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| kind.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_characters() {
        for (pattern, kind, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.room.", true),
            ("m.room.*", "m.reaction", false),
            ("*", "", true),
            ("*", "anything", true),
            ("*.room.*", "m.room.name", true),
            ("m.*.name", "m.room.name", true),
            ("m.*.name", "m.name", false),
            ("m.*o*m.*", "m.room.name", true),
            ("ab*ba", "aba", false),
            ("", "m.room.name", false),
            ("m.?oom.name", "m.room.name", false),
        ] {
            assert_eq!(matches(pattern, kind), expected, "{pattern} {kind}");
        }
    }

    #[test]
    fn exclusion_wins() {
        let filter: RoomEventFilter = serde_json::from_str(
            r#"{"types": ["m.room.*"], "not_types": ["m.room.member"], "rooms": ["!a:x"],
                "not_rooms": ["!b:x"]}"#,
        )
        .unwrap();
        let filter = EventFilter::from(&filter);
        assert!(filter.passes_type("m.room.name"));
        assert!(!filter.passes_type("m.room.member"));
        assert!(!filter.passes_type("m.reaction"));
        assert!(filter.is_about(ruma::room_id!("!a:x")));
        assert!(!filter.is_about(ruma::room_id!("!b:x")));
        assert!(!filter.is_about(ruma::room_id!("!c:x")));
        let nothing: RoomEventFilter = serde_json::from_str(r#"{"types": []}"#).unwrap();
        assert!(!EventFilter::from(&nothing).passes_type("m.room.name"));
    }
}
