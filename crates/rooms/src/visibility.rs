//! Who may see an event: one oracle of history visibility and membership, for every event that leaves
//! the server. Who may see a state is decided in `visible_state.rs`.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{collections::HashMap, sync::Arc};

use ruma::{
    UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::repo::{self, events::Order, state::StateChange};

use crate::{Result, Rooms, events::Event, room::Room, state::StateKey};

/// An event that a reader is shown, and their membership of the room at it.
pub type ShownEvent = (Arc<Event>, MembershipState);

/// Whether a reader may see an event, and as what.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the event may be shown.
    pub visible: bool,
    /// The reader's membership of the room at the event: `leave` where they had none.
    pub membership: MembershipState,
    /// What is shown in the event's place, where its sender was erased and the reader came later.
    pub instead: Option<Arc<Event>>,
}

impl Seen {
    /// What the reader is shown of `event`, and their membership at it; none where they are shown
    /// nothing. `event` is the one that this was found out about.
    pub fn show(self, event: Arc<Event>) -> Option<ShownEvent> {
        self.visible.then(|| (self.instead.unwrap_or(event), self.membership))
    }
}

/// A time at which a user was joined to a room.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    /// When they joined.
    pub(crate) begin: Edge,
    /// When they left, if they did.
    pub(crate) end: Option<Edge>,
}

/// An end of a [`Stay`].
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// When it was.
    pub(crate) pos: Pos,
    /// The state right after it.
    pub(crate) state: Option<StateNid>,
}

/// How much of a room's history is shown. None shows all that another shows: who is invited and
/// never joins is shown what is `invited`, and not what is `shared`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistoryVisibility {
    Joined,
    Invited,
    Shared,
    WorldReadable,
}

/// What decides whether a reader may see an event, and the state right after it.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Whether the event is about the reader's own membership.
    is_own_member: bool,
    /// Whether it is how the reader left the room.
    is_departure: bool,
    /// The reader's membership at the event.
    membership: MembershipState,
    /// Whether the reader is joined, or was later.
    joined_later: bool,
    /// The history visibility before the event.
    visibility: HistoryVisibility,
    /// The history visibility after it, where the event changes it.
    after_change: Option<HistoryVisibility>,
}

impl Moment {
    /// Whether the reader may see the event. A change of their own membership is always told.
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

    /// Whether the reader may see the state right after the event. Who leaves sees the state at that
    /// time. Who is invited is shown what comes with the invite, and the rest once they have joined.
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

    /// A change of the history visibility is shown to whoever may see either side of it.
    fn allows(&self, by: impl Fn(HistoryVisibility) -> bool) -> bool {
        by(self.visibility) || self.after_change.is_some_and(by)
    }
}

impl Rooms {
    /// What `reader` may see of these events of one room, in their order.
    ///
    /// The number of queries does not depend on the number of events.
    pub async fn see(
        &self,
        reader: &UserId,
        room: &Room,
        events: &[Arc<Event>],
    ) -> Result<Vec<Seen>> {
        let last_joined = HashMap::from([(room.nid, self.last_joined(reader, room).await?)]);
        self.see_in_rooms(reader, &last_joined, events).await
    }

    /// What `reader` may see of these events, in their order. `last_joined` says when the reader was
    /// last joined to each of their rooms.
    pub(crate) async fn see_in_rooms(
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
        let hidden = self.hidden_from(reader, &elsewhere).await?;
        for (seen, event) in seen.iter_mut().zip(events) {
            if seen.visible && hidden.contains(&event.nid) {
                seen.instead = Some(self.without_content(event).await?);
            }
        }
        Ok(seen)
    }

    /// What decides on these events, in their order.
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
        let found = self.states.get_many(&wanted).await?;
        let replaced = events.iter().filter(|event| event.is_member_event_of(reader));
        let replaced = replaced.filter_map(|event| event.replaces);
        let deciding = self.events.get_many(found.values().copied().chain(replaced)).await?;
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

    /// Whether `reader` may see this event.
    pub async fn may_see(&self, reader: &UserId, room: &Room, event: &Arc<Event>) -> Result<bool> {
        let seen = self.see(reader, room, std::slice::from_ref(event)).await?;
        Ok(seen.first().is_some_and(|seen| seen.visible))
    }

    /// The last position at which the user was joined to the room: the end of the log where they are
    /// now; none where they never were.
    pub(crate) async fn last_joined(&self, user_id: &UserId, room: &Room) -> Result<Option<Pos>> {
        let Some(current) = self.membership(user_id, room).await? else { return Ok(None) };
        if current.is_joined() {
            return Ok(Some(Pos(i64::MAX)));
        }
        let stays = self.stays(user_id, room).await?;
        Ok(stays.last().and_then(|stay| stay.end.as_ref()).map(|end| Pos(end.pos.0 - 1)))
    }

    /// The times at which a user was joined to a room, in order.
    pub(crate) async fn stays(&self, user_id: &UserId, room: &Room) -> Result<Vec<Stay>> {
        let changes = {
            let mut conn = self.store.read().await?;
            repo::state::changes_of_entry(&mut conn, room.nid, "m.room.member", user_id.as_str())
                .await?
        };
        let nids = changes.iter().flat_map(|change| [change.old, change.new]).flatten();
        let events = self.events.get_many(nids).await?;
        Ok(stays(&changes, &events))
    }

    /// The times at which a user was joined to each of these rooms, in order.
    pub(crate) async fn stays_in_rooms(
        &self,
        user_id: &UserId,
        rooms: impl IntoIterator<Item = RoomNid>,
    ) -> Result<HashMap<RoomNid, Vec<Stay>>> {
        let end = Pos(i64::MAX);
        let changes = self.membership_changes(user_id, rooms, Pos::START, end).await?;
        let nids = changes.values().flatten().flat_map(|change| [change.old, change.new]);
        let events = self.events.get_many(nids.flatten()).await?;
        Ok(changes.iter().map(|(room, changes)| (*room, stays(changes, &events))).collect())
    }

    /// The place in the room's order after which `reader` sees nothing: what happened since they
    /// left, unless anybody may read it.
    pub async fn reach(&self, reader: &UserId, room: &Room) -> Result<Order> {
        let membership = self.membership(reader, room).await?;
        let is_there = membership.as_ref().is_some_and(|row| {
            matches!(row.membership, MembershipState::Join | MembershipState::Invite)
        });
        if is_there || self.is_world_readable(self.committed(room).await?.state).await? {
            return Ok(Order::END);
        }
        let changes = {
            let mut conn = self.store.read().await?;
            let kind = "m.room.history_visibility";
            repo::state::changes_of_entry(&mut conn, room.nid, kind, "").await?
        };
        let events = self.events.get_many(changes.iter().filter_map(|change| change.old)).await?;
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
        let event = match self.states.get(state, key).await? {
            Some(nid) => Some(self.events.get(nid).await?),
            None => None,
        };
        Ok(history_visibility(event.as_ref()) == HistoryVisibility::WorldReadable)
    }
}

/// The times at which a user was joined, by the changes of their membership of a room.
fn stays(changes: &[StateChange], events: &HashMap<EventNid, Arc<Event>>) -> Vec<Stay> {
    let event = |nid: Option<EventNid>| nid.and_then(|nid| events.get(&nid));
    let is_join = |event: Option<&Arc<Event>>| {
        event.and_then(|event| event.membership()) == Some(MembershipState::Join)
    };
    let mut stays: Vec<Stay> = Vec::new();
    for change in changes {
        let (old, new) = (event(change.old), event(change.new));
        let edge = Edge { pos: change.pos, state: new.and_then(|new| new.state_after) };
        match (is_join(old), is_join(new)) {
            (false, true) => stays.push(Stay { begin: edge, end: None }),
            (true, false) => {
                if let Some(stay) = stays.last_mut() {
                    stay.end = Some(edge);
                }
            }
            _ => {}
        }
    }
    stays
}

/// What an `m.room.history_visibility` says. Where there is none, or one that cannot be
/// understood: shared.
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

/// The events of a page that a reader may see, each with the reader's membership at it.
pub(crate) fn visible(
    events: Vec<Arc<Event>>,
    seen: Vec<Seen>,
) -> impl Iterator<Item = ShownEvent> {
    events.into_iter().zip(seen).filter_map(|(event, seen)| seen.show(event))
}
