//! What a client's filter lets through.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

mod event_fields;

use ruma::{
    RoomId, UserId,
    api::client::filter::{Filter, LazyLoadOptions, RoomEventFilter, RoomFilter, UrlFilter},
};
use serde_json::value::RawValue;
use stoa_rooms::events::Event;

pub(crate) use self::event_fields::EventFields;

/// Whether anything of a room may be shown.
pub fn passes_room(filter: &RoomFilter, room_id: &RoomId) -> bool {
    is_listed(filter.rooms.as_deref(), &filter.not_rooms, |listed| listed == room_id)
}

/// Whether a part of the answer may be about a room.
pub fn is_about(filter: &RoomEventFilter, room_id: &RoomId) -> bool {
    is_listed(filter.rooms.as_deref(), &filter.not_rooms, |listed| listed == room_id)
}

/// Whether an event of a room that [`is_about`] lets through may be shown.
pub fn passes_event(filter: &RoomEventFilter, event: &Event) -> bool {
    let names_types = filter.types.is_some() || !filter.not_types.is_empty();
    (!names_types || passes_type(filter, &event.pdu.event_type.to_string()))
        && passes_sender(filter, &event.pdu.sender)
        && filter.url_filter.is_none_or(|wanted| {
            (wanted == UrlFilter::EventsWithUrl) == has_url(&event.pdu.content)
        })
}

/// Whether an event that nobody sent, such as room account data, may be shown.
pub fn passes_type(filter: &RoomEventFilter, kind: &str) -> bool {
    is_listed(filter.types.as_deref(), &filter.not_types, |pattern| matches(pattern, kind))
}

/// Whether global account data may be shown.
pub fn passes_global(filter: &Filter, kind: &str) -> bool {
    is_listed(filter.types.as_deref(), &filter.not_types, |pattern| matches(pattern, kind))
}

/// Whether the filter lets every event through.
pub fn passes_all(filter: &RoomEventFilter) -> bool {
    filter.types.is_none()
        && filter.not_types.is_empty()
        && filter.senders.is_none()
        && filter.not_senders.is_empty()
        && filter.url_filter.is_none()
}

/// Whether the filter lets no event through at all.
pub fn passes_none(filter: &RoomEventFilter) -> bool {
    filter.types.as_ref().is_some_and(Vec::is_empty)
        || filter.senders.as_ref().is_some_and(Vec::is_empty)
}

/// Where members are loaded lazily: whether those that the client has are sent again.
pub fn lazy_members(filter: &RoomEventFilter) -> Option<bool> {
    match filter.lazy_load_options {
        LazyLoadOptions::Disabled => None,
        LazyLoadOptions::Enabled { include_redundant_members } => Some(include_redundant_members),
    }
}

fn passes_sender(filter: &RoomEventFilter, sender: &UserId) -> bool {
    is_listed(filter.senders.as_deref(), &filter.not_senders, |listed| listed == sender)
}

fn has_url(content: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Content {
        url: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Content>(content.get()).is_ok_and(|content| content.url.is_some())
}

/// What is excluded is so even where it is included as well.
fn is_listed<T>(included: Option<&[T]>, excluded: &[T], is_it: impl Fn(&T) -> bool) -> bool {
    !excluded.iter().any(&is_it) && included.is_none_or(|included| included.iter().any(&is_it))
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
    fn a_star_stands_for_anything() {
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
        assert!(passes_type(&filter, "m.room.name"));
        assert!(!passes_type(&filter, "m.room.member"));
        assert!(!passes_type(&filter, "m.reaction"));
        assert!(is_about(&filter, ruma::room_id!("!a:x")));
        assert!(!is_about(&filter, ruma::room_id!("!b:x")));
        assert!(!is_about(&filter, ruma::room_id!("!c:x")));
        let nothing: RoomEventFilter = serde_json::from_str(r#"{"types": []}"#).unwrap();
        assert!(!passes_type(&nothing, "m.room.name"));
    }
}
