//! Who may see an event. Every event that leaves the server passes this one check of history
//! visibility and membership. Who may see a state is decided in `visible_state.rs`.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{collections::HashMap, sync::Arc};

use ruma::{
    EventId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::{
    Store,
    log::EventStatus,
    repo::{self, events::Order},
};

use crate::{
    cache::{known_rooms::KnownRooms, memberships::MembershipCache, room::Room},
    error::{Result, RoomError},
    graph::{event::Event, state::StateKey, state_events::StateEvents},
    read::{erased::ErasedContent, stays::Stays},
};

/// An event that is shown to a reader, with their membership of the room at the event.
pub type ShownEvent = (Arc<Event>, MembershipState);

/// Whether a reader may see an event, and their membership at it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the event may be shown.
    pub visible: bool,
    /// The reader's membership of the room at the event: `leave` if they had none.
    pub membership: MembershipState,
    /// What is shown instead of the event, if its sender was erased before the reader came.
    pub instead: Option<Arc<Event>>,
}

impl Seen {
    /// What the reader is shown of `event`, and their membership at it, or none if they may not see
    /// it. `event` must be the event that this result is about.
    pub fn show(self, event: Arc<Event>) -> Option<ShownEvent> {
        self.visible.then(|| (self.instead.unwrap_or(event), self.membership))
    }
}

/// How much of a room's history is shown. The settings are not ordered: a user who is invited and
/// never joins may see `invited` history but not `shared` history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistoryVisibility {
    Joined,
    Invited,
    Shared,
    WorldReadable,
}

/// What decides whether a reader may see an event and the state right after it.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Whether the event is about the reader's own membership.
    is_own_member: bool,
    /// Whether the event is the reader's departure from the room.
    is_departure: bool,
    /// The reader's membership at the event.
    membership: MembershipState,
    /// Whether the reader is joined at the event or was joined later.
    joined_later: bool,
    /// The history visibility before the event.
    visibility: HistoryVisibility,
    /// The history visibility after the event, if the event changes it.
    after_change: Option<HistoryVisibility>,
}

impl Moment {
    /// Whether the reader may see the event. They may always see changes of their own membership.
    fn shows_event(&self) -> bool {
        self.is_own_member
            || self.membership == MembershipState::Join
            || self.allows(|visibility| match visibility {
                HistoryVisibility::WorldReadable => true,
                HistoryVisibility::Shared => self.joined_later,
                HistoryVisibility::Invited => self.membership == MembershipState::Invite,
                HistoryVisibility::Joined => false,
            })
    }

    /// Whether the reader may see the state right after the event. A user who leaves may see the
    /// state at that time. An invited user sees what comes with the invite, and the rest once they
    /// have joined.
    pub(crate) fn shows_state(&self) -> bool {
        self.is_departure
            || self.membership == MembershipState::Join
            || self.allows(|visibility| match visibility {
                HistoryVisibility::WorldReadable => true,
                HistoryVisibility::Shared => self.joined_later,
                HistoryVisibility::Invited => {
                    self.membership == MembershipState::Invite && self.joined_later
                }
                HistoryVisibility::Joined => false,
            })
    }

    /// A change of the history visibility is shown to readers who may see either side of it.
    fn allows(&self, by: impl Fn(HistoryVisibility) -> bool) -> bool {
        by(self.visibility) || self.after_change.is_some_and(by)
    }
}

/// Decides what users may see.
#[derive(Clone, Debug)]
pub struct Visibility {
    pub(crate) store: Store,
    pub(crate) state_events: StateEvents,
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) memberships: Arc<MembershipCache>,
    pub(crate) stays: Stays,
    pub(crate) erased: ErasedContent,
}

impl Visibility {
    /// What `reader` may see of these events of one room, in their order.
    ///
    /// The number of queries does not depend on the number of events.
    #[tracing::instrument(name = "visibility", level = "debug", skip_all, fields(room = %room.id, events = events.len()))]
    pub async fn see(
        &self,
        reader: &UserId,
        room: &Room,
        events: &[Arc<Event>],
    ) -> Result<Vec<Seen>> {
        let last_joined = HashMap::from([(room.nid, self.stays.last_joined(reader, room).await?)]);
        self.see_in_rooms(reader, &last_joined, events).await
    }

    /// What `reader` may see of these events, in their order. `last_joined` says when the reader
    /// was last joined to each of the events' rooms.
    async fn see_in_rooms(
        &self,
        reader: &UserId,
        last_joined: &HashMap<RoomNid, Option<Pos>>,
        events: &[Arc<Event>],
    ) -> Result<Vec<Seen>> {
        let moments = self.moments(reader, last_joined, events).await?;
        let seen = moments.into_iter().map(|moment| Seen {
            visible: moment.shows_event(),
            membership: moment.membership,
            instead: None,
        });
        let mut seen: Vec<Seen> = seen.collect();
        let elsewhere =
            seen.iter().zip(events).filter(|(seen, _)| seen.membership != MembershipState::Join);
        let elsewhere: Vec<_> = elsewhere.map(|(_, event)| Arc::clone(event)).collect();
        let hidden = self.erased.hidden_from(reader, &elsewhere).await?;
        for (seen, event) in seen.iter_mut().zip(events) {
            if seen.visible && hidden.contains(&event.nid) {
                seen.instead = Some(self.erased.without_content(event).await?);
            }
        }
        Ok(seen)
    }

    /// What `reader` may see of these events, which are all in `rooms`, in their order.
    pub async fn see_in(
        &self,
        reader: &UserId,
        rooms: impl IntoIterator<Item = &Arc<Room>>,
        events: &[Arc<Event>],
    ) -> Result<Vec<Seen>> {
        let mut last_joined = HashMap::new();
        for room in rooms {
            last_joined.insert(room.nid, self.stays.last_joined(reader, room).await?);
        }
        self.see_in_rooms(reader, &last_joined, events).await
    }

    /// An event of the room, with the reader's membership at it. If the reader may not see it, the
    /// result is the same as if it did not exist.
    pub async fn event(
        &self,
        reader: &UserId,
        room: &Room,
        event_id: &EventId,
    ) -> Result<ShownEvent> {
        let not_found = || RoomError::NotFound("event");
        let event = self.state_events.events.by_id(event_id).await?.ok_or_else(not_found)?;
        let is_shown = event.room == room.nid
            && event.order.is_some()
            && event.status == EventStatus::Accepted;
        if !is_shown {
            return Err(not_found());
        }
        let membership = self.memberships.in_room(reader, room).await?;
        if membership.is_some_and(|row| row.forgotten)
            && !self.is_world_readable(self.known.committed(room).await?.state).await?
        {
            return Err(not_found());
        }
        let seen = self.see(reader, room, std::slice::from_ref(&event)).await?;
        visible(vec![event], seen).next().ok_or_else(not_found)
    }

    /// The events of a page that `reader` may see, each with the reader's membership at the event.
    pub async fn visible(
        &self,
        reader: &UserId,
        room: &Room,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<ShownEvent>> {
        let seen = self.see(reader, room, &events).await?;
        Ok(visible(events, seen).collect())
    }

    /// What decides about these events, in their order.
    pub(crate) async fn moments(
        &self,
        reader: &UserId,
        last_joined: &HashMap<RoomNid, Option<Pos>>,
        events: &[Arc<Event>],
    ) -> Result<Vec<Moment>> {
        let history = StateKey::new("m.room.history_visibility", "");
        let member = StateKey::member(reader);
        let mut wanted: Vec<(StateNid, StateKey)> = Vec::new();
        for event in events {
            for state in [event.state_before, event.state_after].into_iter().flatten() {
                wanted.push((state, history));
            }
            wanted.extend(event.state_after.map(|state| (state, member)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let found = self.state_events.states.get_many(&wanted).await?;
        let replaced = events.iter().filter(|event| event.is_member_event_of(reader));
        let replaced = replaced.filter_map(|event| event.replaces);
        let deciding =
            self.state_events.events.get_many(found.values().copied().chain(replaced)).await?;
        let entry = |state: Option<StateNid>, key: StateKey| {
            state.and_then(|state| found.get(&(state, key))).and_then(|nid| deciding.get(nid))
        };

        let moments = events.iter().map(|event| {
            let is_history = event.pdu.event_type == TimelineEventType::RoomHistoryVisibility;
            let is_own_member = event.is_member_event_of(reader);
            let replaced = event.replaces.and_then(|nid| deciding.get(&nid));
            let membership = entry(event.state_after, member)
                .and_then(|event| event.membership())
                .unwrap_or(MembershipState::Leave);
            let visibility = history_visibility(entry(event.state_before, history));
            let after_change =
                is_history.then(|| history_visibility(entry(event.state_after, history)));
            let last_joined = last_joined.get(&event.room).copied().flatten();
            let joined_later = event
                .order
                .is_some_and(|order| last_joined.is_some_and(|last| last.0 >= order.pos));
            Moment {
                is_own_member,
                is_departure: is_own_member
                    && replaced.is_some_and(|replaced| event.is_departure_after(replaced)),
                membership,
                joined_later,
                visibility,
                after_change,
            }
        });
        Ok(moments.collect())
    }

    /// The place in the room's order after which `reader` sees nothing. Readers who have left do
    /// not see what happened since, unless the room is world-readable.
    pub async fn reach(&self, reader: &UserId, room: &Room) -> Result<Order> {
        let membership = self.memberships.in_room(reader, room).await?;
        let is_there = membership.as_ref().is_some_and(|row| {
            matches!(row.membership, MembershipState::Join | MembershipState::Invite)
        });
        if is_there || self.is_world_readable(self.known.committed(room).await?.state).await? {
            return Ok(Order::END);
        }
        let changes = {
            let mut conn = self.store.read().await?;
            let kind = "m.room.history_visibility";
            repo::state::changes_of_entry(&mut conn, room.nid, kind, "").await?
        };
        let events = self
            .state_events
            .events
            .get_many(changes.iter().filter_map(|change| change.old))
            .await?;
        let was_open = |nid: EventNid| {
            history_visibility(events.get(&nid)) == HistoryVisibility::WorldReadable
        };
        let closed = changes.iter().filter(|change| change.old.is_some_and(was_open));
        let ends = closed.map(|change| change.pos).chain(membership.map(|row| row.pos));
        Ok(ends.max().map_or(Order::START, Order::after))
    }

    /// Whether anybody may read the room at `state`.
    pub async fn is_world_readable(&self, state: StateNid) -> Result<bool> {
        let key = StateKey::new("m.room.history_visibility", "");
        let event = self.state_events.entry(state, key).await?;
        Ok(history_visibility(event.as_ref()) == HistoryVisibility::WorldReadable)
    }
}

/// The setting in an `m.room.history_visibility` event. It is `shared` if there is no event or it
/// cannot be understood.
fn history_visibility(event: Option<&Arc<Event>>) -> HistoryVisibility {
    #[derive(serde::Deserialize)]
    struct Content {
        history_visibility: String,
    }
    let content =
        event.and_then(|event| serde_json::from_str::<Content>(event.pdu.content.get()).ok());
    match content.as_ref().map(|content| content.history_visibility.as_str()) {
        Some("joined") => HistoryVisibility::Joined,
        Some("invited") => HistoryVisibility::Invited,
        Some("world_readable") => HistoryVisibility::WorldReadable,
        _ => HistoryVisibility::Shared,
    }
}

/// The events of a page that a reader may see, each with the reader's membership at the event.
fn visible(events: Vec<Arc<Event>>, seen: Vec<Seen>) -> impl Iterator<Item = ShownEvent> {
    events.into_iter().zip(seen).filter_map(|(event, seen)| seen.show(event))
}
