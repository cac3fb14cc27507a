//! Room summaries: the member counts, and the heroes of rooms without a name.

use std::{collections::HashMap, sync::Arc};

use moka::sync::Cache;
use ruma::events::room::member::MembershipState;
use serde::Deserialize;
use stoa_base::{Allowance, EventNid, Pos, RoomNid, StateNid};
use stoa_cluster::SingleFlight;
use stoa_rooms::{Caching, Committed, Event, Rooms, state::StateKey};
use stoa_storage::log::{Stream, Topic};

use crate::{
    ChangeIndex, Reader, Result,
    news::deltas::Deltas,
    span::{ByRoom, KnownState, Span},
};

/// How many heroes a summary has at most.
const HEROES: usize = 5;
/// How many bytes of heroes stay in memory, roughly.
const BYTES: u64 = 8 << 20;

/// A room's summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The heroes. None if the room has a name or an alias.
    pub heroes: Option<Vec<String>>,
    /// How many members are joined.
    pub joined: i64,
    /// How many members are invited.
    pub invited: i64,
}

/// A cache of the heroes of rooms.
#[derive(Debug)]
pub(crate) struct Heroes {
    known: Cache<RoomNid, Known>,
    reading: SingleFlight<RoomNid>,
}

#[derive(Clone, Debug)]
struct Known {
    /// The position of the room's last change of state when this was read.
    state_pos: Pos,
    /// The position up to which the reading node knew the log.
    as_of: Pos,
    candidates: Arc<Candidates>,
}

/// A room whose heroes are asked for.
struct Wanted {
    room: RoomNid,
    committed: Committed,
    up_to: Pos,
}

/// One more than needed, because users are not heroes of their own view of the room.
#[derive(Debug, Default)]
struct Candidates {
    has_name: bool,
    present: Vec<String>,
    /// Former members, who are used if nobody but the reader may be present.
    gone: Vec<String>,
}

impl Candidates {
    fn of(&self, reader: &Reader) -> Option<Vec<String>> {
        if self.has_name {
            return None;
        }
        let others = |users: &[String]| -> Vec<String> {
            let others = users.iter().filter(|user| reader.user_id != user.as_str());
            others.take(HEROES).cloned().collect()
        };
        let present = others(&self.present);
        Some(if present.is_empty() { others(&self.gone) } else { present })
    }
}

/// The summaries of rooms of which the client knows nothing, or whose members, name or alias
/// changed. A redaction may change these too.
pub(crate) struct SummaryReader<'a> {
    pub(crate) rooms: &'a Rooms,
    pub(crate) changes: &'a ChangeIndex,
    pub(crate) heroes: &'a Heroes,
    pub(crate) deltas: &'a Deltas,
}

impl SummaryReader<'_> {
    /// The summary of each room that has a new one.
    pub(crate) async fn read(&self, reader: &Reader, spans: &[Span]) -> Result<ByRoom<Summary>> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for span in spans.iter().filter(|span| span.end.is_none()) {
            let committed = self.rooms.known.committed(&span.room).await?;
            if !self.has_changed(span, committed) {
                continue;
            }
            wanted.push(Wanted { room: span.room.nid, committed, up_to: span.up_to });
        }
        let (rooms, changes, allowance) = (self.rooms, self.changes, &reader.allowance);
        let candidates = self.heroes.of_rooms(rooms, changes, &wanted, allowance).await?;
        let summaries = wanted.into_iter().map(|Wanted { room, committed, .. }| {
            let heroes = candidates.get(&room).and_then(|candidates| candidates.of(reader));
            (room, Summary { heroes, joined: committed.joined, invited: committed.invited })
        });
        Ok(summaries.collect())
    }

    fn has_changed(&self, span: &Span, committed: Committed) -> bool {
        let tells =
            |kind: &str| matches!(kind, "m.room.member" | "m.room.name" | "m.room.canonical_alias");
        match span.state {
            KnownState::Nothing => true,
            KnownState::Withheld => false,
            KnownState::At(since) => {
                let delta = self.deltas.get(&span.room.nid);
                // Redactions are events of the room too.
                delta.is_some_and(|delta| delta.iter().any(|change| tells(&change.kind)))
                    || (committed.head_pos > since
                        && was_redacted(self.changes, span.room.nid, since))
            }
        }
    }
}

impl Heroes {
    pub(crate) fn new() -> Self {
        let weigh = |_: &RoomNid, known: &Known| {
            let Candidates { present, gone, .. } = &*known.candidates;
            let users = present.iter().chain(gone).map(|user| 48 + user.len());
            u32::try_from(384 + users.sum::<usize>()).unwrap_or(u32::MAX)
        };
        let known = Cache::builder().max_capacity(BYTES).weigher(weigh).build();
        Self { known, reading: SingleFlight::default() }
    }

    async fn of_rooms(
        &self,
        rooms: &Rooms,
        changes: &ChangeIndex,
        wanted: &[Wanted],
        allowance: &Allowance,
    ) -> Result<ByRoom<Arc<Candidates>>> {
        let mut missing: HashMap<RoomNid, &Wanted> =
            wanted.iter().map(|wanted| (wanted.room, wanted)).collect();
        let mut found = ByRoom::new();
        self.take_known(changes, &mut missing, &mut found);
        if missing.is_empty() {
            return Ok(found);
        }
        // If several requests need the same rooms at once, one of them reads for all.
        let (mine, others) = self.reading.claim(missing.keys().copied());
        let claimed = mine.keys().iter().filter_map(|room| missing.remove(room)).collect();
        found.extend(self.read_and_keep(rooms, claimed, allowance).await?);
        drop(mine);
        for other in others {
            other.landed().await;
        }
        self.take_known(changes, &mut missing, &mut found);
        let missing = missing.into_values().collect();
        found.extend(self.read_and_keep(rooms, missing, allowance).await?);
        Ok(found)
    }

    /// Moves the rooms whose candidates are in memory from `missing` to `found`.
    fn take_known(
        &self,
        changes: &ChangeIndex,
        missing: &mut HashMap<RoomNid, &Wanted>,
        found: &mut ByRoom<Arc<Candidates>>,
    ) {
        missing.retain(|room, wanted| {
            let is_current = |known: &Known| {
                known.state_pos == wanted.committed.state_pos
                    && !was_redacted(changes, *room, known.as_of)
            };
            let known = self.known.get(room).filter(is_current);
            let is_missing = known.is_none();
            found.extend(known.map(|known| (*room, known.candidates)));
            is_missing
        });
    }

    async fn read_and_keep(
        &self,
        rooms: &Rooms,
        missing: Vec<&Wanted>,
        allowance: &Allowance,
    ) -> Result<ByRoom<Arc<Candidates>>> {
        if missing.is_empty() {
            return Ok(ByRoom::new());
        }
        let states: Vec<(RoomNid, StateNid)> =
            missing.iter().map(|room| (room.room, room.committed.state)).collect();
        let read = Self::read(rooms, &states, allowance).await?;
        for room in missing {
            if let Some(candidates) = read.get(&room.room) {
                let known = Known {
                    state_pos: room.committed.state_pos,
                    as_of: room.up_to,
                    candidates: Arc::clone(candidates),
                };
                self.known.insert(room.room, known);
            }
        }
        Ok(read)
    }

    async fn read(
        rooms: &Rooms,
        states: &[(RoomNid, StateNid)],
        allowance: &Allowance,
    ) -> Result<ByRoom<Arc<Candidates>>> {
        let naming =
            [StateKey::new("m.room.name", ""), StateKey::new("m.room.canonical_alias", "")];
        let keys: Vec<(StateNid, StateKey)> =
            states.iter().flat_map(|(_, state)| naming.map(|key| (*state, key))).collect();
        let nids = rooms.unchecked_states.get_many(&keys).await?;
        let named_by: Vec<EventNid> = nids.values().copied().collect();
        let events = rooms.unchecked_events.within(&named_by, Caching::Fill, allowance).await?;
        let has_name = |state: &StateNid| {
            let named = naming.iter().filter_map(|key| nids.get(&(*state, *key)));
            named.filter_map(|nid: &EventNid| events.get(nid)).any(|event| names_room(event))
        };
        let (named, nameless): (Vec<_>, Vec<_>) =
            states.iter().partition(|(_, state)| has_name(state));
        // The events are not needed any further.
        allowance.give_back(events.values().map(|event| event.weight() as u64).sum());
        drop(events);
        let mut candidates: HashMap<RoomNid, Candidates> = named
            .into_iter()
            .map(|(room, _)| (room, Candidates { has_name: true, ..Candidates::default() }))
            .collect();
        let nameless: Vec<RoomNid> = nameless.into_iter().map(|(room, _)| room).collect();
        if !nameless.is_empty() {
            let limit = i64::try_from(HEROES + 1).unwrap_or(i64::MAX);
            let there = [MembershipState::Join, MembershipState::Invite];
            let mut present = rooms.members.unchecked_first(nameless.clone(), there, limit).await?;
            let present_of = |room: &RoomNid| present.get(room).map_or(0, Vec::len);
            let lonely: Vec<RoomNid> =
                nameless.iter().copied().filter(|room| present_of(room) <= 1).collect();
            let mut gone = if lonely.is_empty() {
                ByRoom::new()
            } else {
                rooms
                    .members
                    .unchecked_first(lonely, [MembershipState::Leave, MembershipState::Ban], limit)
                    .await?
            };
            candidates.extend(nameless.into_iter().map(|room| {
                let present = present.remove(&room).unwrap_or_default();
                let gone = gone.remove(&room).unwrap_or_default();
                (room, Candidates { has_name: false, present, gone })
            }));
        }
        Ok(candidates.into_iter().map(|(room, found)| (room, Arc::new(found))).collect())
    }
}

/// Whether an event of the room may have been redacted after `since`, for example the one that
/// named it.
fn was_redacted(changes: &ChangeIndex, room: RoomNid, since: Pos) -> bool {
    changes.may_have_changed(&Topic::from(room), &[Stream::Redaction], since)
}

/// Whether a state event sets a name or an alias rather than removing it.
fn names_room(event: &Event) -> bool {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    serde_json::from_str::<Content>(event.pdu.content.get())
        .is_ok_and(|content| content.name.or(content.alias).is_some_and(|name| !name.is_empty()))
}
