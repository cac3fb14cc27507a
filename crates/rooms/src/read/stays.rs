//! When users were joined to rooms.

use std::{collections::HashMap, sync::Arc};

use ruma::{UserId, events::room::member::MembershipState};
use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_storage::{
    Store,
    repo::{self, state::StateChange},
};

use crate::{
    cache::{memberships::MembershipCache, room::Room},
    error::Result,
    graph::{event::Event, events::Events},
    read::state_changes::StateChanges,
};

/// A period during which a user was joined to a room.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    /// When they joined.
    pub(crate) begin: Edge,
    /// When they left, if they did.
    pub(crate) end: Option<Edge>,
}

/// The beginning or the end of a [`Stay`].
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The position of the change.
    pub(crate) pos: Pos,
    /// The state right after it.
    pub(crate) state: Option<StateNid>,
}

impl Stay {
    /// Whether the stay entitles the user to an event whose sender was erased: it was going on when
    /// the event was sent, or it began later but before the erasure.
    pub(crate) fn opens(&self, event: &Event, erased: Pos) -> bool {
        let Some(order) = event.order else { return false };
        self.begin.pos.0 <= erased.0.max(order.pos)
            && self.end.as_ref().is_none_or(|end| end.pos.0 > order.pos)
    }
}

/// Finds out when users were joined to rooms.
#[derive(Clone, Debug)]
pub(crate) struct Stays {
    pub(crate) store: Store,
    pub(crate) events: Events,
    pub(crate) memberships: Arc<MembershipCache>,
    pub(crate) changes: StateChanges,
}

impl Stays {
    /// The last position at which the user was joined to the room: the end of the log if they are
    /// joined now, and none if they never were.
    pub(crate) async fn last_joined(&self, user_id: &UserId, room: &Room) -> Result<Option<Pos>> {
        let Some(current) = self.memberships.in_room(user_id, room).await? else { return Ok(None) };
        if current.is_joined() {
            return Ok(Some(Pos(i64::MAX)));
        }
        let stays = self.of_user(user_id, room).await?;
        Ok(stays.last().and_then(|stay| stay.end.as_ref()).map(|end| Pos(end.pos.0 - 1)))
    }

    /// The periods during which a user was joined to a room, in order.
    pub(crate) async fn of_user(&self, user_id: &UserId, room: &Room) -> Result<Vec<Stay>> {
        let changes = {
            let mut conn = self.store.read().await?;
            repo::state::changes_of_entry(&mut conn, room.nid, "m.room.member", user_id.as_str())
                .await?
        };
        let nids = changes.iter().flat_map(|change| [change.old, change.new]).flatten();
        let events = self.events.get_many(nids).await?;
        Ok(stays(&changes, &events))
    }

    /// The periods during which a user was joined to each of these rooms, in order.
    pub(crate) async fn in_rooms(
        &self,
        user_id: &UserId,
        rooms: impl IntoIterator<Item = RoomNid>,
    ) -> Result<HashMap<RoomNid, Vec<Stay>>> {
        let end = Pos(i64::MAX);
        let changes = self.changes.of_membership(user_id, rooms, Pos::START, end).await?;
        let nids = changes.values().flatten().flat_map(|change| [change.old, change.new]);
        let events = self.events.get_many(nids.flatten()).await?;
        Ok(changes.iter().map(|(room, changes)| (*room, stays(changes, &events))).collect())
    }
}

/// The periods during which a user was joined, derived from the changes of their membership.
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
