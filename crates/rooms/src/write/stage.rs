//! Builds one event on a room's head: chooses the extremities that it follows, authorizes, hashes
//! and signs it, and adds its rows to an append.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedServerName,
    OwnedUserId,
    events::TimelineEventType,
    room_version_rules::RoomVersionRules,
    signatures::{Ed25519KeyPair, hash_and_sign_event},
    state_res::auth_types_for_event,
};
use serde_json::value::RawValue;
use stoa_base::{Clock, EventNid, StateNid};
use stoa_storage::{NidAllocator, log::EventStatus};

use crate::{
    cache::room::{Extremity, Head, Room},
    error::{Result, RoomError},
    graph::{
        auth_events::AuthEvents,
        event::Event,
        forks::Forks,
        pdu::{MAX_PREV_EVENTS, Pdu},
        state::{NewState, StateKey},
        state_events::StateEvents,
    },
    write::{
        advance::{Decided, Heads},
        change::Draft,
    },
};

/// An event to be built.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) kind: TimelineEventType,
    /// Its state key, if it is a state event.
    pub(crate) state_key: Option<String>,
    pub(crate) sender: OwnedUserId,
    pub(crate) content: CanonicalJsonObject,
    /// The event that a redaction redacts.
    pub(crate) redacts: Option<Arc<Event>>,
    /// When it is sent, if that is not the time when it is built.
    pub(crate) sent: Option<MilliSecondsSinceUnixEpoch>,
    /// The device that sends it, and the key of its transaction.
    pub(crate) txn: Option<(String, String)>,
}

impl NewEvent {
    /// A state event.
    pub(crate) fn state(
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

/// Builds this server's events.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    pub(crate) server_name: OwnedServerName,
    pub(crate) key: Arc<Ed25519KeyPair>,
    pub(crate) clock: Clock,
    pub(crate) nids: Arc<NidAllocator>,
    pub(crate) state_events: StateEvents,
    pub(crate) forks: Forks,
    pub(crate) heads: Heads,
}

impl Staging {
    /// Builds `new` on the draft's head, adds what has to be stored to its append, and moves the
    /// head on.
    ///
    /// If this fails, the draft may be partly changed, and the caller drops it.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn stage(
        &self,
        room: &Room,
        draft: &mut Draft,
        new: NewEvent,
    ) -> Result<Arc<Event>> {
        let mut nodes = NewState::default();
        let (prev, state_before) = self.previous(room, &draft.head, &mut nodes).await?;
        let auth = self.auth_events(&room.rules, state_before, &new).await?;
        let pdu = self.build(room, &prev, &auth, &new)?;
        auth.allow(&room.rules, &pdu).map_err(RoomError::Forbidden)?;

        let states = &self.state_events.states;
        let nid = EventNid(self.nids.take(1).await?.start);
        let key =
            pdu.state_key.as_deref().map(|key| StateKey::new(&pdu.event_type.to_string(), key));
        let (replaces, state_after) = match key {
            Some(key) => (
                states.get(state_before, key).await?,
                states.set(state_before, key, Some(nid), &mut nodes).await?,
            ),
            None => (None, state_before),
        };
        draft.append.state_nodes.append(&mut nodes.rows);
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
        self.heads.advance_head(room, draft, decided).await
    }

    /// The events that the next one follows, and the state before it.
    async fn previous(
        &self,
        room: &Room,
        head: &Head,
        nodes: &mut NewState,
    ) -> Result<(Vec<Extremity>, StateNid)> {
        let mut prev = head.extremities.clone();
        if prev.len() <= MAX_PREV_EVENTS {
            return Ok((prev, head.state));
        }
        prev.sort_by(|a, b| b.depth.cmp(&a.depth).then_with(|| a.event_id.cmp(&b.event_id)));
        prev.truncate(MAX_PREV_EVENTS);
        let roots: BTreeSet<StateNid> =
            prev.iter().map(|extremity| extremity.state_after).collect();
        let state = self.forks.resolve(&room.rules, roots, nodes).await?;
        Ok((prev, state))
    }

    /// The auth events of `new` from the state.
    async fn auth_events(
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
        self.state_events.auth_events(rules, state, wanted).await
    }

    /// Builds the event's JSON, hashes and signs it, and parses the result.
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

/// Canonical JSON as text, for code that parses lazily.
fn to_raw(object: &CanonicalJsonObject) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(object).map_err(|error| RoomError::BadJson(error.to_string()))
}
