//! A PDU in memory: an event as servers exchange it, parsed once.
//!
//! A [`Pdu`] is what authorization and state resolution work on. It is made either from an event
//! that was just built or received ([`Pdu::from_canonical`], which checks its format and computes
//! its id), or from text that this server stored earlier ([`Pdu::from_stored`], which trusts both).
//! Signatures and the content hash are checked before, elsewhere.

use std::borrow::Cow;

use ruma::{
    CanonicalJsonObject, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, RoomId, UserId,
    events::TimelineEventType,
    room_version_rules::{EventFormatRules, EventIdFormatVersion, RoomVersionRules},
    signatures::{JsonError, reference_hash},
    state_res::Event,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The most bytes a PDU may have as canonical JSON, signatures included.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#size-limits>
pub const MAX_PDU_BYTES: usize = 65_536;

/// The most bytes that `sender`, `room_id`, `state_key`, `type` and each event id may have.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#size-limits>
pub const MAX_ID_BYTES: usize = 255;

/// The most entries that `prev_events` may have.
///
/// <https://spec.matrix.org/v1.19/rooms/v4/#event-format>
pub const MAX_PREV_EVENTS: usize = 20;

/// The most entries that `auth_events` may have.
///
/// <https://spec.matrix.org/v1.19/rooms/v4/#event-format>
pub const MAX_AUTH_EVENTS: usize = 10;

/// Why an event is not a valid PDU for its room version. Such an event is dropped rather than
/// rejected, so no other event can refer to it.
#[derive(Debug, thiserror::Error)]
pub enum PduError {
    /// The canonical JSON is longer than [`MAX_PDU_BYTES`].
    #[error("the event has {0} bytes, and at most {MAX_PDU_BYTES} are allowed")]
    TooLarge(usize),
    /// A field is missing, of the wrong type, or out of range.
    #[error("the event is not a valid PDU: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is longer than [`MAX_ID_BYTES`].
    #[error("`{0}` is longer than {MAX_ID_BYTES} bytes")]
    FieldTooLong(&'static str),
    /// A list of events has more entries than the format allows.
    #[error("`{0}` has too many entries")]
    TooManyEvents(&'static str),
    /// `content` is not an object.
    #[error("`content` is not an object")]
    ContentNotObject,
    /// `room_id` is missing. Only the create event of a room of version 12 or later may lack it.
    #[error("`room_id` is missing")]
    NoRoomId,
    /// `auth_events` contains the create event, which is implied by the room's id from room version
    /// 12 on.
    #[error("`auth_events` contains the create event of the room")]
    CreateAmongAuthEvents,
    /// The id could not be computed.
    #[error("the reference hash cannot be computed: {0}")]
    Hash(#[from] JsonError),
    /// Room versions 1 and 2, whose event ids are not hashes.
    #[error("the room version has event ids that are not hashes")]
    UnsupportedRoomVersion,
}

/// An event as servers exchange it. It never changes, except for [`rejected`](Self::rejected).
#[derive(Clone, Debug)]
pub struct Pdu {
    /// The event's id: its reference hash.
    pub event_id: OwnedEventId,
    /// The room that it belongs to. The create event of a room of version 12 or later does not
    /// contain it; there the room's id is the hash of the event.
    pub room_id: OwnedRoomId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// Its type.
    pub event_type: TimelineEventType,
    /// Present in state events, possibly empty.
    pub state_key: Option<String>,
    /// Its content as canonical JSON.
    pub content: Box<RawValue>,
    /// The events that it directly follows.
    pub prev_events: Vec<OwnedEventId>,
    /// The events that authorize it, as its server claims.
    pub auth_events: Vec<OwnedEventId>,
    /// The event that this redaction redacts, from the field that the room version uses.
    pub redacts: Option<OwnedEventId>,
    /// One more than the greatest depth among `prev_events`, as its server claims.
    pub depth: u64,
    /// When it was created, as its server claims.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// Whether this server rejected it. False at first: this is not a property of the event itself.
    pub rejected: bool,
    names_room: bool,
    json: Box<str>,
}

impl Pdu {
    /// Makes a PDU from an event that was just built and signed, or that another server sent, and
    /// computes its id.
    ///
    /// The text of the object is kept, so remove anything that should not be stored (`unsigned`)
    /// before.
    pub fn from_canonical(
        object: &CanonicalJsonObject,
        rules: &RoomVersionRules,
    ) -> Result<Self, PduError> {
        // The map is sorted and its numbers are integers, so its plain text is canonical.
        let json = serde_json::to_string(object)?;
        if json.len() > MAX_PDU_BYTES {
            return Err(PduError::TooLarge(json.len()));
        }
        if matches!(rules.event_id_format, EventIdFormatVersion::V1) {
            return Err(PduError::UnsupportedRoomVersion);
        }
        let event_id = EventId::new_v2_or_v3(&reference_hash(object, rules)?)
            .map_err(|_| PduError::UnsupportedRoomVersion)?;
        let pdu = Self::parse(event_id, json.into_boxed_str(), rules)?;
        pdu.check_format(&rules.event_format)?;
        Ok(pdu)
    }

    /// Makes a PDU from the canonical text that was stored under this id.
    ///
    /// Neither the id nor the limits are checked again: they were when the event was stored, and
    /// the text of a redacted event still hashes to its id.
    pub fn from_stored(
        event_id: OwnedEventId,
        json: impl Into<Box<str>>,
        rules: &RoomVersionRules,
    ) -> Result<Self, PduError> {
        Self::parse(event_id, json.into(), rules)
    }

    fn parse(
        event_id: OwnedEventId,
        json: Box<str>,
        rules: &RoomVersionRules,
    ) -> Result<Self, PduError> {
        let fields: Fields<'_> = serde_json::from_str(&json)?;
        if !fields.content.get().starts_with('{') {
            return Err(PduError::ContentNotObject);
        }
        let event_type = TimelineEventType::from(&*fields.event_type);
        let redacts = (event_type == TimelineEventType::RoomRedaction)
            .then(|| fields.redacts(rules))
            .flatten();
        let names_room = fields.room_id.is_some();
        let room_id = match fields.room_id {
            Some(room_id) => room_id,
            None if event_type == TimelineEventType::RoomCreate
                && !rules.event_format.require_room_create_room_id =>
            {
                RoomId::new_v2(hash_of(&event_id)).map_err(|_| PduError::NoRoomId)?
            }
            None => return Err(PduError::NoRoomId),
        };
        Ok(Self {
            event_id,
            room_id,
            sender: fields.sender,
            event_type,
            state_key: fields.state_key,
            content: fields.content.to_owned(),
            prev_events: fields.prev_events,
            auth_events: fields.auth_events,
            redacts,
            depth: fields.depth,
            origin_server_ts: fields.origin_server_ts,
            rejected: false,
            names_room,
            json,
        })
    }

    /// Checks the limits that parsing does not enforce.
    fn check_format(&self, rules: &EventFormatRules) -> Result<(), PduError> {
        let short = |field, value: &str| {
            if value.len() > MAX_ID_BYTES { Err(PduError::FieldTooLong(field)) } else { Ok(()) }
        };
        short("sender", self.sender.as_str())?;
        short("type", &self.event_type.to_string())?;
        short("state_key", self.state_key.as_deref().unwrap_or_default())?;
        for id in &self.prev_events {
            short("prev_events", id.as_str())?;
        }
        for id in &self.auth_events {
            short("auth_events", id.as_str())?;
        }
        if self.prev_events.len() > MAX_PREV_EVENTS {
            return Err(PduError::TooManyEvents("prev_events"));
        }
        if self.auth_events.len() > MAX_AUTH_EVENTS {
            return Err(PduError::TooManyEvents("auth_events"));
        }
        short("room_id", self.room_id.as_str())?;
        if !rules.allow_room_create_in_auth_events
            && self.auth_events.iter().any(|id| hash_of(id) == self.room_id.strip_sigil())
        {
            return Err(PduError::CreateAmongAuthEvents);
        }
        Ok(())
    }

    /// The whole event as canonical JSON. This is what is stored and what other servers get.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The same event with this server's verdict set.
    #[must_use]
    pub fn with_rejected(self, rejected: bool) -> Self {
        Self { rejected, ..self }
    }

    /// Whether this is a state event.
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }
}

/// What follows the sigil of an event id.
fn hash_of(event_id: &EventId) -> &str {
    event_id.as_str().strip_prefix('$').unwrap_or(event_id.as_str())
}

/// The fields of a PDU that this server uses. Everything else stays in the text.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default, deserialize_with = "present")]
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    state_key: Option<String>,
    #[serde(borrow)]
    content: &'a RawValue,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    #[serde(default, borrow)]
    redacts: Option<&'a RawValue>,
    depth: u64,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
}

impl Fields<'_> {
    /// The event that a redaction names, or `None` if the field does not contain an event id. Such
    /// a redaction is a PDU like any other, but redacts nothing.
    fn redacts(&self, rules: &RoomVersionRules) -> Option<OwnedEventId> {
        #[derive(Deserialize)]
        struct Content {
            redacts: OwnedEventId,
        }
        if rules.redaction.content_field_redacts {
            let content: Content = serde_json::from_str(self.content.get()).ok()?;
            Some(content.redacts)
        } else {
            serde_json::from_str(self.redacts?.get()).ok()
        }
    }
}

/// A field that may be absent but, if present, is not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.names_room.then_some(&*self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    fn content(&self) -> &RawValue {
        &self.content
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;
    use serde_json::{Value, json};

    use super::*;

    fn rules(version: &RoomVersionId) -> RoomVersionRules {
        version.rules().unwrap()
    }

    /// A message that is valid in room version 11, with these fields replaced.
    fn pdu_with(changes: &Value) -> Value {
        let mut pdu = json!({
            "room_id": "!room:a.test", "sender": "@alice:a.test", "type": "m.room.message",
            "content": {"body": "hello"}, "prev_events": ["$prev"], "auth_events": ["$create"],
            "depth": 7, "origin_server_ts": 1_700_000_000_000_u64,
            "hashes": {"sha256": "aGFzaA"}, "signatures": {},
        });
        for (key, value) in changes.as_object().unwrap() {
            pdu[key] = value.clone();
        }
        pdu
    }

    fn parse(pdu: &Value, version: &RoomVersionId) -> Result<Pdu, PduError> {
        Pdu::from_canonical(&serde_json::from_value(pdu.clone()).unwrap(), &rules(version))
    }

    fn error(changes: &Value) -> PduError {
        parse(&pdu_with(changes), &RoomVersionId::V11).unwrap_err()
    }

    #[test]
    fn stored_text_gives_the_same_pdu() {
        let made = parse(&pdu_with(&json!({"state_key": ""})), &RoomVersionId::V11).unwrap();
        let read =
            Pdu::from_stored(made.event_id.clone(), made.json(), &rules(&RoomVersionId::V11));
        assert_eq!(format!("{:?}", read.unwrap()), format!("{made:?}"));
        assert!(made.is_state());
    }

    #[test]
    fn the_size_limit_is_on_the_canonical_text() {
        let empty = parse(&pdu_with(&json!({"content": {"body": ""}})), &RoomVersionId::V11);
        let rest = MAX_PDU_BYTES - empty.unwrap().json().len();
        let largest = pdu_with(&json!({"content": {"body": "x".repeat(rest)}}));
        let pdu = parse(&largest, &RoomVersionId::V11).unwrap();
        assert_eq!(pdu.json().len(), MAX_PDU_BYTES);
        let too_large = json!({"content": {"body": "x".repeat(rest + 1)}});
        assert!(matches!(error(&too_large), PduError::TooLarge(65_537)));
    }

    #[test]
    fn identifiers_are_limited_in_bytes() {
        // Two bytes each: 127 of them fit, 128 do not.
        let long = "é".repeat(128);
        for (changes, field) in [
            (json!({"type": long}), "type"),
            (json!({"state_key": long}), "state_key"),
            (json!({"sender": format!("@{}:a.test", "x".repeat(248))}), "sender"),
            (json!({"room_id": format!("!{long}:a.test")}), "room_id"),
            (json!({"prev_events": [format!("${long}")]}), "prev_events"),
            (json!({"auth_events": [format!("${long}")]}), "auth_events"),
        ] {
            let error = error(&changes);
            assert!(matches!(error, PduError::FieldTooLong(f) if f == field), "{field}: {error}");
        }
        let short = json!({"state_key": "é".repeat(127), "type": "t".repeat(255)});
        assert!(parse(&pdu_with(&short), &RoomVersionId::V11).is_ok());
    }

    #[test]
    fn lists_of_events_are_limited() {
        let ids = |n: usize| (0..n).map(|i| format!("${i}")).collect::<Vec<_>>();
        let full = json!({"prev_events": ids(20), "auth_events": ids(10)});
        assert!(parse(&pdu_with(&full), &RoomVersionId::V11).is_ok());
        let prev = error(&json!({"prev_events": ids(21)}));
        assert!(matches!(prev, PduError::TooManyEvents("prev_events")));
        let auth = error(&json!({"auth_events": ids(11)}));
        assert!(matches!(auth, PduError::TooManyEvents("auth_events")));
    }

    #[test]
    fn fields_of_the_wrong_type_are_refused() {
        for changes in [
            json!({"depth": -1}),
            json!({"depth": "7"}),
            json!({"origin_server_ts": null}),
            json!({"state_key": null}),
            json!({"room_id": null}),
            json!({"sender": "alice"}),
            json!({"prev_events": [["$prev", {}]]}),
            json!({"auth_events": "$create"}),
        ] {
            let error = error(&changes);
            assert!(matches!(error, PduError::Json(_)), "{changes}: {error}");
        }
    }

    #[test]
    fn content_must_be_an_object() {
        let stored = pdu_with(&json!({"content": "text"})).to_string();
        let id = OwnedEventId::try_from("$id").unwrap();
        let read = Pdu::from_stored(id, stored, &rules(&RoomVersionId::V11));
        assert!(matches!(read, Err(PduError::ContentNotObject)));
        assert!(parse(&pdu_with(&json!({"content": []})), &RoomVersionId::V11).is_err());
    }

    #[test]
    fn only_a_create_event_from_version_12_on_may_lack_a_room_id() {
        let lacking = |ty: &str| {
            let mut pdu = pdu_with(&json!({"type": ty, "state_key": "", "auth_events": []}));
            pdu.as_object_mut().unwrap().remove("room_id");
            pdu
        };
        let create = parse(&lacking("m.room.create"), &RoomVersionId::V12).unwrap();
        assert_eq!(create.room_id.strip_sigil(), &create.event_id.as_str()[1..]);
        assert_eq!(create.room_id(), None);
        for (ty, version) in
            [("m.room.create", RoomVersionId::V11), ("m.room.topic", RoomVersionId::V12)]
        {
            assert!(matches!(parse(&lacking(ty), &version), Err(PduError::NoRoomId)));
        }
    }

    #[test]
    fn auth_events_cannot_contain_the_create_event_from_version_12_on() {
        let pdu = pdu_with(&json!({"room_id": "!create", "auth_events": ["$create"]}));
        assert!(parse(&pdu, &RoomVersionId::V11).is_ok());
        let refused = parse(&pdu, &RoomVersionId::V12);
        assert!(matches!(refused, Err(PduError::CreateAmongAuthEvents)));
    }

    #[test]
    fn the_redacted_event_is_read_from_the_field_of_the_room_version() {
        let pdu = pdu_with(&json!({
            "type": "m.room.redaction", "redacts": "$old", "content": {"redacts": "$new"},
        }));
        for (version, redacts) in [(RoomVersionId::V10, "$old"), (RoomVersionId::V11, "$new")] {
            assert_eq!(parse(&pdu, &version).unwrap().redacts.unwrap(), redacts);
        }
        let nonsense = json!({"type": "m.room.redaction", "content": {"redacts": 7}});
        assert_eq!(parse(&pdu_with(&nonsense), &RoomVersionId::V11).unwrap().redacts, None);
        let message = json!({"content": {"redacts": "$new"}});
        assert_eq!(parse(&pdu_with(&message), &RoomVersionId::V11).unwrap().redacts, None);
    }

    #[test]
    fn room_versions_without_hashes_as_ids_are_refused() {
        let refused = parse(&pdu_with(&json!({})), &RoomVersionId::V1);
        assert!(matches!(refused, Err(PduError::UnsupportedRoomVersion)));
    }
}
