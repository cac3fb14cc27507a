//! A user's membership of each of their rooms at a point in time, and how it came about.

use std::collections::HashMap;

use ruma::events::room::member::MembershipState;
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_rooms::{Caching, Membership, Memberships, Rooms};
use stoa_storage::repo::state::StateChange;

use crate::{Reader, Result};

/// A user's membership of a room at a point in time.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) room: RoomNid,
    pub(crate) membership: MembershipState,
    /// The member event that set it.
    pub(crate) event: EventNid,
    /// When it became current.
    pub(crate) at: Pos,
    pub(crate) forgotten: bool,
    /// How the membership came about, if it changed after the client's token.
    pub(crate) moved: Option<Moved>,
}

/// How a membership changed after a token.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    /// The membership at the token.
    pub(crate) from: Option<MembershipState>,
    /// Whether the user was joined at any time between the token and the end.
    pub(crate) was_joined: bool,
    /// Whether they were joined the whole time.
    pub(crate) stayed_joined: bool,
    /// How they last left, if they left after the token.
    pub(crate) departure: Option<Departure>,
}

/// How a user left a room: by a leave, a kick or a ban. Later changes, such as a ban of somebody
/// who had already left, do not count as a departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The position of the departure.
    pub pos: Pos,
    /// The member event. The user knows nothing of the room's state after it.
    pub event: EventNid,
}

/// The memberships of the reader at `head`, and how they changed after `since`.
///
/// `memberships` are the current ones, which may be newer than `head`.
pub(crate) async fn standings(
    rooms: &Rooms,
    reader: &Reader,
    memberships: &Memberships,
    since: Option<Pos>,
    head: Pos,
) -> Result<Vec<Standing>> {
    let from = since.map_or(head, |since| since.min(head));
    let moved = || memberships.values().filter(|row| row.pos > from);
    let by_head = moved().filter(|row| row.pos <= head).map(|row| row.room).collect();
    let mut history = History::read(rooms, reader, by_head, from, head).await?;
    let later = moved().filter(|row| row.pos > head).map(|row| row.room).collect();
    history.extend(History::read(rooms, reader, later, from, Pos(i64::MAX)).await?);
    Ok(memberships
        .values()
        .filter_map(|row| {
            if row.pos <= from {
                return Some(Standing::unmoved(row));
            }
            match history.changes.get(&row.room) {
                Some(changes) => history.standing(row, changes, since, head),
                // No change of the room's state explains this membership.
                None => Some(Standing {
                    moved: since.map(|_| Moved::out_of_nothing()),
                    ..Standing::unmoved(row)
                }),
            }
        })
        .collect())
}

/// How the reader last left each of these rooms. Rooms that they were never in are absent.
pub(crate) async fn departures(
    rooms: &Rooms,
    reader: &Reader,
    among: Vec<RoomNid>,
) -> Result<HashMap<RoomNid, Departure>> {
    let history = History::read(rooms, reader, among, Pos::START, Pos(i64::MAX)).await?;
    let departures = history.changes.iter();
    Ok(departures
        .filter_map(|(room, changes)| Some((*room, history.departure(changes)?)))
        .collect())
}

impl Standing {
    /// Whether the user was in the room at the token.
    pub(crate) fn was_in(&self) -> bool {
        let before =
            self.moved.as_ref().map_or(Some(&self.membership), |moved| moved.from.as_ref());
        before == Some(&MembershipState::Join)
    }

    fn unmoved(row: &Membership) -> Self {
        Self {
            room: row.room,
            membership: row.membership.clone(),
            event: row.event,
            at: row.pos,
            forgotten: row.forgotten,
            moved: None,
        }
    }
}

impl Moved {
    const fn out_of_nothing() -> Self {
        Self { from: None, was_joined: false, stayed_joined: false, departure: None }
    }
}

/// The changes of a user's memberships, with the membership that each event sets.
struct History {
    changes: HashMap<RoomNid, Vec<StateChange>>,
    memberships: HashMap<EventNid, MembershipState>,
}

impl History {
    async fn read(
        rooms: &Rooms,
        reader: &Reader,
        moved: Vec<RoomNid>,
        from: Pos,
        up_to: Pos,
    ) -> Result<Self> {
        if moved.is_empty() {
            return Ok(Self { changes: HashMap::new(), memberships: HashMap::new() });
        }
        let changes =
            rooms.state_changes.of_membership(&reader.user_id, moved, from, up_to).await?;
        let nids = changes.values().flatten().flat_map(|change| [change.old, change.new]);
        let mut nids: Vec<EventNid> = nids.flatten().collect();
        // The event that one change set is the one that the next change replaced.
        nids.sort_unstable();
        nids.dedup();
        let events = rooms.unchecked_events.within(&nids, Caching::Fill, &reader.allowance).await?;
        // Only the memberships are kept, not the events.
        reader.allowance.give_back(events.values().map(|event| event.weight() as u64).sum());
        let memberships = events
            .into_iter()
            .map(|(nid, event)| (nid, event.membership().unwrap_or(MembershipState::Leave)))
            .collect();
        Ok(Self { changes, memberships })
    }

    fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.memberships.extend(other.memberships);
    }

    fn membership(&self, event: Option<EventNid>) -> Option<MembershipState> {
        event.and_then(|event| self.memberships.get(&event)).cloned()
    }

    /// How the user last left, according to these changes.
    fn departure<'a>(
        &self,
        changes: impl IntoIterator<Item = &'a StateChange, IntoIter: DoubleEndedIterator>,
    ) -> Option<Departure> {
        let is_join = |event| self.membership(event) == Some(MembershipState::Join);
        let left =
            changes.into_iter().rfind(|change| is_join(change.old) && !is_join(change.new))?;
        Some(Departure { pos: left.pos, event: left.new? })
    }

    /// The standing at `head`, or none if the user had no membership yet.
    fn standing(
        &self,
        row: &Membership,
        changes: &[StateChange],
        since: Option<Pos>,
        head: Pos,
    ) -> Option<Standing> {
        let until_head = changes.partition_point(|change| change.pos <= head);
        let until_head = changes.get(..until_head).unwrap_or_default();
        let Some(last) = until_head.last() else {
            // All changes are after `head`.
            let event = changes.first()?.old?;
            return Some(Standing {
                membership: self.membership(Some(event))?,
                event,
                at: head,
                ..Standing::unmoved(row)
            });
        };
        let from = self.membership(changes.first().and_then(|change| change.old));
        let joined: Vec<bool> = until_head
            .iter()
            .map(|change| self.membership(change.new) == Some(MembershipState::Join))
            .collect();
        let was_in = from == Some(MembershipState::Join);
        let moved = Moved {
            was_joined: was_in || joined.contains(&true),
            stayed_joined: was_in && !joined.contains(&false),
            departure: self.departure(until_head),
            from,
        };
        Some(Standing {
            room: row.room,
            membership: self.membership(last.new).unwrap_or(MembershipState::Leave),
            event: last.new.or(last.old)?,
            at: last.pos,
            forgotten: row.forgotten && row.pos == last.pos,
            moved: since.map(|_| moved),
        })
    }
}
