//! Events from other servers: checked, added to the graph, and included in the room's state.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>
//!
//! Signatures and content hashes are checked before, where the sender's keys are known. The
//! `prev_events` and `auth_events` of an event must be on this server. If some are missing, the
//! error names them, so that they can be fetched first.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, RoomVersionId,
    events::{StateEventType, TimelineEventType},
    state_res::{check_state_dependent_auth_rules, check_state_independent_auth_rules},
};
use stoa_base::{Clock, EventNid, RoomNid, StateNid};
use stoa_storage::{
    NidAllocator, Store,
    log::{Append, EventStatus, RoomRow, Writer},
    repo,
};

use crate::{
    cache::{
        known_rooms::KnownRooms,
        room::{Head, Room},
    },
    error::{Result, RoomError},
    graph::{
        event::Event,
        forks::Forks,
        pdu::Pdu,
        state::{NewState, StateKey},
        state_events::StateEvents,
    },
    write::{
        advance::{Decided, Heads, event_row},
        change::{Built, Changes, Draft},
    },
};

/// What happened to an event from another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is part of the room.
    Accepted,
    /// It counts in state resolution but is shown to nobody.
    SoftFailed,
    /// It changes nothing and is shown to nobody.
    Rejected,
    /// It is already on this server.
    Known,
}

/// An event's place in the graph, determined before it is written.
struct Weighed {
    status: EventStatus,
    state_before: StateNid,
    state_after: StateNid,
    replaces: Option<EventNid>,
}

/// The events that an event refers to.
struct Named {
    /// Its `prev_events`.
    prev: Vec<Arc<Event>>,
    /// Its `auth_events`, by ID.
    auth: HashMap<OwnedEventId, Arc<Event>>,
}

/// Receives events from other servers.
#[derive(Clone, Debug)]
pub struct Receiving {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) nids: Arc<NidAllocator>,
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) state_events: StateEvents,
    pub(crate) forks: Forks,
    pub(crate) changes: Changes,
    pub(crate) heads: Heads,
}

impl Receiving {
    /// Adds a room that was created on another server, unless it is already known.
    pub async fn room(&self, room_id: OwnedRoomId, version: &RoomVersionId) -> Result<Arc<Room>> {
        if let Some(nid) = self.known.nid(&room_id).await? {
            return self.known.by_nid(nid).await;
        }
        version.rules().ok_or_else(|| RoomError::UnsupportedVersion(version.clone()))?;
        let nid = RoomNid(self.nids.take(1).await?.start);
        let mut append = Append::new();
        append.rooms.push(RoomRow {
            nid,
            room_id: room_id.to_string(),
            version: version.to_string(),
            created_ms: self.clock.now_ms(),
        });
        self.writer.append(append).await?;
        self.known.by_nid(nid).await
    }

    /// Stores an event that is not part of the graph yet: an auth event, or one whose place is not
    /// known. Its own auth events must be on this server.
    pub async fn outlier(&self, room: &Arc<Room>, pdu: Pdu) -> Result<Received> {
        if self.state_events.events.by_id(&pdu.event_id).await?.is_some() {
            return Ok(Received::Known);
        }
        let auth = self.named_auth_events(&pdu).await?;
        let status = match allowed_by_named(room, &pdu, &auth) {
            Ok(()) => EventStatus::Accepted,
            Err(why) => {
                tracing::info!(event_id = %pdu.event_id, why, "an event was rejected");
                EventStatus::Rejected
            }
        };
        let event = Event {
            nid: EventNid(self.nids.take(1).await?.start),
            room: room.nid,
            pos: None,
            order: None,
            status,
            state_before: None,
            state_after: None,
            replaces: None,
            txn: None,
            redacted_by: None,
            pdu: Arc::new(pdu.with_rejected(status == EventStatus::Rejected)),
        };
        let mut append = Append::new();
        append.events.push(event_row(&event, None));
        self.writer.append(append).await?;
        Ok(received(status))
    }

    /// Adds an event to the room's graph: an event that was just sent on another server, or an
    /// outlier whose `prev_events` have arrived.
    #[tracing::instrument(name = "receive", level = "debug", skip_all, fields(room = %room.id))]
    pub async fn event(&self, room: &Arc<Room>, pdu: Pdu) -> Result<Received> {
        let pdu = &pdu;
        self.changes
            .change(room, None, |mut draft| async move {
                let known = self.state_events.events.by_id(&pdu.event_id).await?;
                if known.as_ref().is_some_and(|event| event.state_before.is_some()) {
                    return Ok(Built::Present(Received::Known));
                }
                let decided =
                    self.decide(room, &mut draft, pdu, known.map(|event| event.nid)).await?;
                let event = self.heads.advance_head(room, &mut draft, decided).await?;
                Ok(Built::New(draft, received(event.status)))
            })
            .await
    }

    /// Decides on an event. `outlier` is its internal number if it is stored as an outlier.
    async fn decide(
        &self,
        room: &Room,
        draft: &mut Draft,
        pdu: &Pdu,
        outlier: Option<EventNid>,
    ) -> Result<Decided> {
        let Draft { head, append } = draft;
        let named =
            Named { prev: self.previous_of(pdu).await?, auth: self.named_auth_events(pdu).await? };
        let nid = match outlier {
            Some(nid) => nid,
            None => EventNid(self.nids.take(1).await?.start),
        };
        let weighed = self.weigh(room, head, append, pdu, nid, &named).await?;
        let mut decided = Decided {
            nid,
            pdu: pdu.clone(),
            status: weighed.status,
            state_before: weighed.state_before,
            state_after: weighed.state_after,
            replaces: weighed.replaces,
            txn: None,
            is_outlier: outlier.is_some(),
            is_followed: false,
            redacts: None,
        };
        if weighed.status == EventStatus::Accepted {
            let mut conn = self.store.read().await?;
            let waiting = repo::events::waiting_for(&mut conn, pdu.event_id.as_str()).await?;
            drop(conn);
            decided.is_followed = !waiting.is_empty();
            decided.redacts = self.redacted_by(room, pdu).await?;
        }
        Ok(decided)
    }

    /// Carries out the three authorization checks, and determines the state before and after the
    /// event.
    async fn weigh(
        &self,
        room: &Room,
        head: &Head,
        append: &mut Append,
        pdu: &Pdu,
        nid: EventNid,
        named: &Named,
    ) -> Result<Weighed> {
        let Named { prev, auth } = named;
        let roots: BTreeSet<StateNid> = prev.iter().filter_map(|event| event.state_after).collect();
        let mut nodes = NewState::default();
        let state_before = self.forks.resolve(&room.rules, roots, &mut nodes).await?;
        let mut status = EventStatus::Accepted;
        let refused = match allowed_by_named(room, pdu, auth) {
            Ok(()) => self.state_events.allow(&room.rules, state_before, pdu).await?.err(),
            Err(why) => Some(why),
        };
        if let Some(why) = refused {
            tracing::info!(event_id = %pdu.event_id, why, "an event was rejected");
            status = EventStatus::Rejected;
        } else if pdu.event_type != TimelineEventType::RoomCreate
            && let Err(why) = self.state_events.allow(&room.rules, head.state, pdu).await?
        {
            tracing::info!(event_id = %pdu.event_id, why, "an event was soft-failed");
            status = EventStatus::SoftFailed;
        }
        let mut state_after = state_before;
        let mut replaces = None;
        if let (Some(state_key), true) = (&pdu.state_key, status != EventStatus::Rejected) {
            let key = StateKey::new(&pdu.event_type.to_string(), state_key);
            replaces = self.state_events.states.get(state_before, key).await?;
            state_after =
                self.state_events.states.set(state_before, key, Some(nid), &mut nodes).await?;
        }
        append.state_nodes.append(&mut nodes.rows);
        Ok(Weighed { status, state_before, state_after, replaces })
    }

    /// The event's `prev_events`. Fails if one is missing or has no state.
    async fn previous_of(&self, pdu: &Pdu) -> Result<Vec<Arc<Event>>> {
        let found = self.state_events.events.by_ids(pdu.prev_events.iter().map(|id| &**id)).await?;
        let is_missing =
            |id: &&OwnedEventId| found.get(*id).is_none_or(|event| event.state_after.is_none());
        let missing: Vec<OwnedEventId> =
            pdu.prev_events.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            Ok(found.into_values().collect())
        } else {
            Err(RoomError::MissingPrevEvents(missing))
        }
    }

    /// The event's `auth_events`. In a room of version 12 or later these include the create event,
    /// which is implied. Fails if one is missing.
    async fn named_auth_events(&self, pdu: &Pdu) -> Result<HashMap<OwnedEventId, Arc<Event>>> {
        let mut wanted: Vec<OwnedEventId> = pdu.auth_events.clone();
        let implied = EventId::parse(format!("${}", pdu.room_id.as_str().trim_start_matches('!')));
        if let (Ok(create), false) = (implied, pdu.event_type == TimelineEventType::RoomCreate)
            && !pdu.room_id.as_str().contains(':')
        {
            wanted.push(create);
        }
        let found = self.state_events.events.by_ids(wanted.iter().map(|id| &**id)).await?;
        let missing: Vec<OwnedEventId> =
            wanted.into_iter().filter(|id| !found.contains_key(id)).collect();
        if missing.is_empty() { Ok(found) } else { Err(RoomError::MissingAuthEvents(missing)) }
    }

    /// The event that a redaction names, if it is on this server and in the same room.
    async fn redacted_by(&self, room: &Room, pdu: &Pdu) -> Result<Option<Arc<Event>>> {
        match &pdu.redacts {
            Some(target) if pdu.event_type == TimelineEventType::RoomRedaction => {
                let target = self.state_events.events.by_id(target).await?;
                Ok(target.filter(|target| target.room == room.nid))
            }
            _ => Ok(None),
        }
    }
}

/// Whether an event is allowed by its auth events.
fn allowed_by_named(
    room: &Room,
    pdu: &Pdu,
    auth: &HashMap<OwnedEventId, Arc<Event>>,
) -> Result<(), String> {
    let rules = &room.rules.authorization;
    check_state_independent_auth_rules(rules, pdu, |id| auth.get(id).map(|event| &*event.pdu))?;
    let by_key: HashMap<(StateEventType, &str), &Pdu> = auth
        .values()
        .filter_map(|event| {
            let kind = StateEventType::from(event.pdu.event_type.to_string());
            Some(((kind, event.pdu.state_key.as_deref()?), &*event.pdu))
        })
        .collect();
    check_state_dependent_auth_rules(rules, pdu, |kind, key| {
        by_key.get(&(kind.clone(), key)).copied()
    })
}

const fn received(status: EventStatus) -> Received {
    match status {
        EventStatus::Accepted => Received::Accepted,
        EventStatus::SoftFailed => Received::SoftFailed,
        EventStatus::Rejected => Received::Rejected,
    }
}
