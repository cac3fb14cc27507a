//! Building one event on a room's head: chosen to follow the extremities, authorized, hashed,
//! signed, and written down as rows of an append.

use std::{collections::HashMap, sync::Arc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    signatures::hash_and_sign_event,
    state_res::{
        auth_types_for_event, check_state_dependent_auth_rules, check_state_independent_auth_rules,
    },
};
use serde_json::value::RawValue;
use stoa_base::{EventNid, StateNid};
use stoa_storage::log::{Append, EventStatus};

use crate::{
    Result, RoomError, Rooms,
    advance::Decided,
    change::Draft,
    events::{Event, not_there},
    pdu::{MAX_PREV_EVENTS, Pdu},
    room::{Extremity, Head, Room},
    state::{NewState, StateKey},
};

/// An event that is to be built.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its type.
    pub kind: TimelineEventType,
    /// Its state key, of a state event.
    pub state_key: Option<String>,
    /// Who sends it.
    pub sender: OwnedUserId,
    /// Its content.
    pub content: CanonicalJsonObject,
    /// The event that a redaction redacts.
    pub redacts: Option<Arc<Event>>,
    /// When it is sent, where that is not when it is built.
    pub sent: Option<MilliSecondsSinceUnixEpoch>,
    /// The device that sends it, and the key of its transaction.
    pub txn: Option<(String, String)>,
}

impl NewEvent {
    /// A state event.
    pub fn state(
        kind: impl Into<TimelineEventType>,
        state_key: impl Into<String>,
        sender: OwnedUserId,
        content: CanonicalJsonObject,
    ) -> Self {
        Self {
            kind: kind.into(),
            state_key: Some(state_key.into()),
            sender,
            content,
            redacts: None,
            sent: None,
            txn: None,
        }
    }
}

impl Rooms {
    /// Builds `new` on the draft's head, adds what is to be stored to its append, and moves the
    /// head on.
    ///
    /// Where this fails, the draft may have been changed in part: the caller drops it.
    pub(crate) async fn stage(
        &self,
        room: &Room,
        draft: &mut Draft,
        new: NewEvent,
    ) -> Result<Arc<Event>> {
        let Draft { head, append } = draft;
        let (prev, state_before) = self.previous(room, head, append).await?;
        let auth = self.auth_events(&room.rules, state_before, &new).await?;
        let pdu = self.build(room, &prev, &auth, &new)?;
        authorize(&room.rules, &pdu, &auth)?;

        let mut nodes = NewState::default();
        let nid = EventNid(self.nids.take(1).await?.start);
        let key =
            pdu.state_key.as_deref().map(|key| StateKey::new(&pdu.event_type.to_string(), key));
        let (replaces, state_after) = match key {
            Some(key) => (
                self.states.get(state_before, key).await?,
                self.states.set(state_before, key, Some(nid), &mut nodes).await?,
            ),
            None => (None, state_before),
        };
        append.state_nodes.append(&mut nodes.rows);

        let decided = Decided {
            nid,
            pdu,
            status: EventStatus::Accepted,
            state_before,
            state_after,
            replaces,
            txn: new.txn,
            is_outlier: false,
            is_followed: false,
            redacts: new.redacts,
        };
        self.advance_head(room, draft, decided).await
    }

    /// The events that the next one follows, and the state before it.
    async fn previous(
        &self,
        room: &Room,
        head: &Head,
        append: &mut Append,
    ) -> Result<(Vec<Extremity>, StateNid)> {
        let mut prev = head.extremities.clone();
        if prev.len() <= MAX_PREV_EVENTS {
            return Ok((prev, head.state));
        }
        prev.sort_by(|a, b| b.depth.cmp(&a.depth).then_with(|| a.event_id.cmp(&b.event_id)));
        prev.truncate(MAX_PREV_EVENTS);
        let state = self.resolve_extremities(room, &prev, append).await?;
        Ok((prev, state))
    }

    /// The events of the state that decide on `new`, by type and state key.
    pub(crate) async fn auth_events(
        &self,
        rules: &RoomVersionRules,
        state: StateNid,
        new: &NewEvent,
    ) -> Result<AuthEvents> {
        let content = to_raw(&new.content)?;
        let wanted = auth_types_for_event(
            &new.kind,
            &new.sender,
            new.state_key.as_deref(),
            &content,
            &rules.authorization,
        )
        .map_err(RoomError::BadJson)?;
        self.auth_events_for(rules, state, wanted).await
    }

    pub(crate) async fn auth_events_for(
        &self,
        rules: &RoomVersionRules,
        state: StateNid,
        mut wanted: Vec<(StateEventType, String)>,
    ) -> Result<AuthEvents> {
        // From room version 12 on the creation decides without being named.
        let create = (StateEventType::RoomCreate, String::new());
        let names_create = wanted.contains(&create);
        if !names_create {
            wanted.push(create.clone());
        }
        let keys: Vec<(StateNid, StateKey)> =
            wanted.iter().map(|(kind, key)| (state, StateKey::typed(kind, key))).collect();
        let nids = self.states.get_many(&keys).await?;
        let events = self.events.get_many(nids.values().copied()).await?;
        let mut auth = AuthEvents {
            names_create: names_create && rules.event_format.allow_room_create_in_auth_events,
            by_key: HashMap::new(),
        };
        for (entry, key) in wanted.into_iter().zip(keys) {
            let Some(nid) = nids.get(&key) else { continue };
            // One that is not stored yet may have left the memory. Nothing is decided without it.
            let event = events.get(nid).ok_or_else(|| not_there(*nid))?;
            auth.by_key.insert(entry, Arc::clone(event));
        }
        Ok(auth)
    }

    /// The event as it is to be signed, hashed, signed and parsed.
    fn build(
        &self,
        room: &Room,
        prev: &[Extremity],
        auth: &AuthEvents,
        new: &NewEvent,
    ) -> Result<Pdu> {
        let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
        let depth = prev.iter().map(|extremity| extremity.depth).max().map_or(1, |depth| depth + 1);
        let mut object = CanonicalJsonObject::new();
        let is_create = new.kind == TimelineEventType::RoomCreate;
        if !is_create || room.rules.event_format.require_room_create_room_id {
            object.insert("room_id".into(), text(room.id.as_str()));
        }
        object.insert("type".into(), text(&new.kind.to_string()));
        object.insert("sender".into(), text(new.sender.as_str()));
        if let Some(state_key) = &new.state_key {
            object.insert("state_key".into(), text(state_key));
        }
        let mut content = new.content.clone();
        if let Some(target) = &new.redacts {
            let redacts = target.pdu.event_id.as_str();
            if room.rules.redaction.content_field_redacts {
                content.insert("redacts".into(), text(redacts));
            } else {
                object.insert("redacts".into(), text(redacts));
            }
        }
        object.insert("content".into(), content.into());
        object.insert("depth".into(), integer(depth.min(MAX_DEPTH))?);
        let sent = new.sent.unwrap_or_else(|| self.clock.now());
        object.insert("origin_server_ts".into(), integer(u64::from(sent.get()))?);
        let ids = |ids: Vec<&str>| CanonicalJsonValue::Array(ids.into_iter().map(text).collect());
        let prev_ids = prev.iter().map(|extremity| extremity.event_id.as_str()).collect();
        object.insert("prev_events".into(), ids(prev_ids));
        object.insert("auth_events".into(), ids(auth.ids().map(|id| id.as_str()).collect()));
        hash_and_sign_event(
            self.server_name.as_str(),
            &*self.key,
            &mut object,
            &room.rules.redaction,
        )
        .map_err(|error| RoomError::TooLarge(error.to_string()))?;
        Pdu::from_canonical(&object, &room.rules).map_err(RoomError::from_build)
    }
}

/// The largest depth that canonical JSON can hold.
const MAX_DEPTH: u64 = (1 << 53) - 1;

fn integer(value: u64) -> Result<CanonicalJsonValue> {
    let value = i64::try_from(value).ok().and_then(|value| ruma::Int::try_from(value).ok());
    value
        .map(CanonicalJsonValue::Integer)
        .ok_or_else(|| RoomError::BadJson("a number is out of range".to_owned()))
}

/// Canonical JSON as text, for what parses lazily.
pub(crate) fn to_raw(object: &CanonicalJsonObject) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(object).map_err(|error| RoomError::BadJson(error.to_string()))
}

/// The events of a state that decide whether another event is allowed.
#[derive(Debug)]
pub(crate) struct AuthEvents {
    /// Whether the event names the room's creation among them.
    names_create: bool,
    by_key: HashMap<(StateEventType, String), Arc<Event>>,
}

impl AuthEvents {
    /// The IDs that the event names.
    fn ids(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.by_key
            .iter()
            .filter(|((kind, _), _)| self.names_create || *kind != StateEventType::RoomCreate)
            .map(|(_, event)| &event.pdu.event_id)
    }

    pub(crate) fn get(&self, kind: &StateEventType, key: &str) -> Option<&Pdu> {
        self.by_key.get(&(kind.clone(), key.to_owned())).map(|event| &*event.pdu)
    }

    fn by_id(&self, id: &ruma::EventId) -> Option<&Pdu> {
        self.by_key.values().map(|event| &*event.pdu).find(|pdu| pdu.event_id == id)
    }
}

/// Checks an event that was built here against the state that it was built on.
fn authorize(rules: &RoomVersionRules, pdu: &Pdu, auth: &AuthEvents) -> Result<()> {
    let rules = &rules.authorization;
    check_state_independent_auth_rules(rules, pdu, |id| auth.by_id(id))
        .and_then(|()| {
            check_state_dependent_auth_rules(rules, pdu, |kind, key| auth.get(kind, key))
        })
        .map_err(RoomError::Forbidden)
}
