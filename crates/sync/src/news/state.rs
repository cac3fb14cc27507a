//! The state of rooms: what a client needs to arrive at the room's state.
//!
//! By default the client applies this part and then the state events of the timeline. This part
//! follows the changes of the room's current state, not the timeline, so it also contains changes
//! without an event in the timeline (a late event, a resolved fork). If the timeline ends with a
//! value that differs from the room's state, because one of its state events lost in state
//! resolution, the timeline is cut after that event. The client then has the right state and is
//! told of a gap, which it fills when it pages back.
//!
//! With `use_state_after` the client applies only this part, which leads to the state at the end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{UserId, events::TimelineEventType};
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_rooms::{
    Caching, Event, Rooms, ShownEvent, VisibleState,
    state::{Part, StateKey},
};
use stoa_storage::repo::state::StateChange;

use crate::{
    Reader, Result,
    known_members::KnownMembers,
    news::{
        deltas::{Deltas, after_departure, position},
        summary::Summary,
        timeline::Timeline,
    },
    span::{ByRoom, KnownState, Span},
    wants::{Members, StateWants},
};

/// Events of a room's state are cached only if there are at most this many. Otherwise an initial
/// sync of large rooms would evict everything else.
const SMALL: usize = 50;

/// The state of rooms.
pub(crate) struct StateReader<'a> {
    pub(crate) rooms: &'a Rooms,
    pub(crate) wants: &'a StateWants<'a>,
    pub(crate) timelines: &'a ByRoom<Timeline>,
    pub(crate) summaries: &'a ByRoom<Summary>,
    pub(crate) deltas: &'a Deltas,
    pub(crate) known: &'a KnownMembers,
}

/// What the client is sent of a room's state.
#[derive(Debug, Default)]
pub(crate) struct StateNews {
    /// The events, oldest first.
    pub(crate) events: Vec<Arc<Event>>,
    /// The position up to which the timeline has to be cut.
    pub(crate) cut: Option<Pos>,
}

impl StateReader<'_> {
    /// What the client is sent of the state of each room.
    pub(crate) async fn read(&self, reader: &Reader, spans: &[Span]) -> Result<ByRoom<StateNews>> {
        let members = self.wants.members;
        let mut plans = Vec::new();
        for span in spans {
            plans.extend(self.plan(reader, span, members.are_lazy()).await?);
        }
        self.load(reader, &mut plans, members.are_lazy()).await?;

        let mut chosen: Vec<Chosen<'_>> = Vec::new();
        for plan in &mut plans {
            let (mut events, needed) = plan.choose(self.wants.at_end);
            match plan.span.state {
                KnownState::At(since)
                    if members == (Members::Lazily { include_redundant: false }) =>
                {
                    events.extend(self.known.unknown(&reader.device, since, needed));
                }
                _ => events.extend(needed),
            }
            chosen.push((plan.span, events, plan.cut));
        }
        // Large sets of state events, such as those of a large room that is new to the client,
        // bypass the cache.
        let (large, small): (Vec<_>, Vec<_>) =
            chosen.iter().partition(|(_, events, _)| events.len() > SMALL);
        let read = async |chosen: &[&Chosen<'_>], caching| {
            let nids = chosen.iter().flat_map(|(_, nids, _)| nids.iter().copied());
            let nids: Vec<EventNid> = nids.collect();
            self.rooms.unchecked_events.within(&nids, caching, &reader.allowance).await
        };
        let mut events = read(&small, Caching::Fill).await?;
        events.extend(read(&large, Caching::Bypass).await?);
        let news = chosen.into_iter().map(|(span, nids, cut)| {
            let mut events: Vec<Arc<Event>> = nids
                .iter()
                .filter_map(|nid| events.get(nid))
                .filter(|event| self.wants.filter.passes_event(event))
                .cloned()
                .collect();
            events.sort_by_key(|event| (event.order, event.nid));
            (span.room.nid, StateNews { events, cut })
        });
        Ok(news.collect())
    }
}

/// What the client is sent of a room's state: the events, and up to where the timeline has to be
/// cut.
type Chosen<'a> = (&'a Span, BTreeSet<EventNid>, Option<Pos>);

/// What is needed to choose the state events of one room.
struct Plan<'a> {
    span: &'a Span,
    delta: Option<&'a [StateChange]>,
    timeline: Shown<'a>,
    events: &'a [ShownEvent],
    /// The state that `current` is read from.
    root: VisibleState,
    /// The entries in which the state at the end of the span differs from `root`.
    later: HashMap<StateKey, Option<EventNid>>,
    /// Members to include even if they have not changed.
    members: BTreeSet<StateKey>,
    /// The part of the state at the end of the span that is needed.
    current: BTreeMap<StateKey, EventNid>,
    cut: Option<Pos>,
}

/// The state events of a timeline, and the senders of all its events.
#[derive(Default)]
struct Shown<'a> {
    /// The first and the last event of each state entry.
    entries: HashMap<StateKey, (&'a Event, &'a Event)>,
    senders: HashSet<&'a UserId>,
}

impl<'a> Shown<'a> {
    fn after(cut: Option<Pos>, events: &'a [ShownEvent]) -> Self {
        let mut shown = Self::default();
        for (event, _) in events {
            if cut.is_some_and(|cut| position(event) <= cut) {
                continue;
            }
            shown.senders.insert(&event.pdu.sender);
            if let Some(key) = key_of(event) {
                shown.entries.entry(key).or_insert((event, event)).1 = event;
            }
        }
        shown
    }
}

fn key_of(event: &Event) -> Option<StateKey> {
    let state_key = event.pdu.state_key.as_deref()?;
    Some(StateKey::new(&event.pdu.event_type.to_string(), state_key))
}

impl StateReader<'_> {
    /// What has to be read for a span, or none if there is nothing to send.
    async fn plan<'a>(
        &'a self,
        reader: &Reader,
        span: &'a Span,
        lazily: bool,
    ) -> Result<Option<Plan<'a>>> {
        if !self.wants.filter.is_about(&span.room.id) {
            return Ok(None);
        }
        let events = self
            .timelines
            .get(&span.room.nid)
            .map_or(&[][..], |timeline| timeline.events.as_slice());
        let mut plan = Plan {
            span,
            delta: None,
            timeline: Shown::after(None, events),
            events,
            root: VisibleState::NOTHING,
            later: HashMap::new(),
            members: BTreeSet::new(),
            current: BTreeMap::new(),
            cut: None,
        };
        match span.state {
            KnownState::Withheld => {
                let own = StateKey::member(&reader.user_id);
                let is_shown = !self.wants.at_end && plan.timeline.entries.contains_key(&own);
                // If the timeline does not contain the reader's final member event, or does not
                // count towards the state, that event is sent here.
                let Some(end) = span.end.filter(|_| !is_shown) else { return Ok(None) };
                plan.current.insert(own, end.event);
                return Ok(Some(plan));
            }
            KnownState::At(_) => {
                plan.delta = Some(self.deltas.get(&span.room.nid).map_or(&[][..], Vec::as_slice));
            }
            KnownState::Nothing => {
                plan.members.insert(StateKey::member(&reader.user_id));
            }
        }
        if lazily {
            plan.members.extend(self.changed_members(reader, span).await?);
            let heroes =
                self.summaries.get(&span.room.nid).and_then(|summary| summary.heroes.as_deref());
            plan.members.extend(
                heroes.into_iter().flatten().map(|user| StateKey::new("m.room.member", user)),
            );
            plan.members.extend(plan.timeline.senders.iter().map(|user| StateKey::member(user)));
        } else {
            plan.members.clear();
        }
        if plan.delta.is_some() && plan.members.is_empty() {
            return Ok(Some(plan));
        }
        if let Some(end) = span.end {
            if let Some(departure) = end.departure {
                let event = self.rooms.unchecked_events.get(departure.event).await?;
                let state = self.rooms.visible_states.of_departure(&reader.user_id, &event).await?;
                plan.root = state.unwrap_or(VisibleState::NOTHING);
            }
            for change in after_departure(reader, span, self.timelines.get(&span.room.nid)) {
                let key = StateKey::new(&change.kind, &change.state_key);
                plan.later.insert(key, change.new);
            }
        } else {
            let committed = self.rooms.known.committed(&span.room).await?;
            // The reader is in the room at the end of the span. Changes after the span are undone
            // below.
            plan.root = VisibleState::unchecked(committed.state);
            let up_to = committed.state_pos;
            let changes = if up_to > span.up_to {
                let (after, allowance) = (span.up_to, &reader.allowance);
                self.rooms
                    .state_changes
                    .unchecked_of_room(&span.room, after, up_to, allowance)
                    .await?
            } else {
                Vec::new()
            };
            for change in changes {
                let key = StateKey::new(&change.kind, &change.state_key);
                plan.later.entry(key).or_insert(change.old);
            }
        }
        Ok(Some(plan))
    }

    /// The members of whom the client may have an outdated version.
    async fn changed_members(&self, reader: &Reader, span: &Span) -> Result<Vec<StateKey>> {
        let Some(since) = span.members_since.filter(|_| span.state == KnownState::Nothing) else {
            return Ok(Vec::new());
        };
        let (up_to, allowance) = (span.state_up_to(), &reader.allowance);
        let changes =
            self.rooms.state_changes.unchecked_of_room(&span.room, since, up_to, allowance).await?;
        let keys = changes.iter().map(|change| StateKey::new(&change.kind, &change.state_key));
        Ok(keys.filter(|key| key.is_member()).collect())
    }

    /// Reads the state entries that the plans need.
    async fn load(&self, reader: &Reader, plans: &mut [Plan<'_>], lazily: bool) -> Result<()> {
        let part = if lazily { Part::WithoutMembers } else { Part::All };
        let whole: Vec<VisibleState> =
            plans.iter().filter(|plan| plan.is_whole()).map(|plan| plan.root).collect();
        let mut whole = self.rooms.states.entries_of(whole, part, &reader.allowance).await?;
        let mut wanted = Vec::new();
        for plan in &*plans {
            let shown = plan.timeline.entries.keys().filter(|_| lazily && plan.is_whole());
            wanted.extend(plan.members.iter().chain(shown).map(|key| (plan.root, *key)));
        }
        let members = self.rooms.states.entries_at(wanted, &reader.allowance).await?;
        for plan in plans {
            if plan.is_whole() {
                plan.current = whole.get_mut(&plan.root).cloned().unwrap_or_default();
            }
            let shown: Vec<StateKey> = plan.timeline.entries.keys().copied().collect();
            for key in plan.members.iter().chain(&shown) {
                if let Some(event) = members.get(&(plan.root, *key)) {
                    plan.current.insert(*key, *event);
                }
            }
            for (key, event) in &plan.later {
                let is_wanted = plan.members.contains(key)
                    || plan.timeline.entries.contains_key(key)
                    || (plan.is_whole() && (!lazily || !key.is_member()));
                match event {
                    Some(event) if is_wanted => {
                        plan.current.insert(*key, *event);
                    }
                    _ => {
                        plan.current.remove(key);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Plan<'_> {
    fn is_whole(&self) -> bool {
        self.span.state == KnownState::Nothing
    }

    /// The events to send, and separately the members who are included only because the timeline or
    /// the summary needs them.
    fn choose(&mut self, at_end: bool) -> (BTreeSet<EventNid>, Vec<EventNid>) {
        let mut latest: BTreeMap<StateKey, Option<EventNid>> = BTreeMap::new();
        for change in self.delta.into_iter().flatten() {
            latest.insert(StateKey::new(&change.kind, &change.state_key), change.new);
        }
        if !at_end && self.span.state != KnownState::Withheld {
            self.cut_where_the_timeline_misleads(&latest);
        }
        let before = |key: &StateKey| match self.timeline.entries.get(key) {
            Some((first, _)) if !at_end => Some(*first),
            _ => None,
        };
        if self.is_whole() || self.delta.is_none() {
            let told = self.current.iter().filter(|(key, _)| {
                // Members who are neither needed nor new are left out.
                at_end || !key.is_member() || self.members.is_empty() || self.members.contains(key)
            });
            let told = told.filter_map(|(key, event)| match before(key) {
                Some(first) => first.replaces,
                None => Some(*event),
            });
            return (told.collect(), Vec::new());
        }
        let mut told = BTreeSet::new();
        for change in self.delta.into_iter().flatten() {
            let key = StateKey::new(&change.kind, &change.state_key);
            let last = match before(&key) {
                Some(first) => self.last_before(&key, position(first)),
                None => latest.get(&key).copied().flatten(),
            };
            told.extend(last);
        }
        let members = self.members.iter().filter_map(|key| match before(key) {
            Some(first) => first.replaces,
            None => self.current.get(key).copied(),
        });
        let members = members.filter(|event| !told.contains(event)).collect();
        (told, members)
    }

    /// The last event that changed an entry before `pos`, if any did.
    fn last_before(&self, key: &StateKey, pos: Pos) -> Option<EventNid> {
        let mut changes = self.delta.into_iter().flatten().filter(|change| change.pos < pos);
        changes
            .rfind(|change| StateKey::new(&change.kind, &change.state_key) == *key)
            .and_then(|change| change.new)
    }

    /// Cuts the timeline after its last event whose value for an entry is not the final one.
    fn cut_where_the_timeline_misleads(&mut self, latest: &BTreeMap<StateKey, Option<EventNid>>) {
        let is_wrong = |key: &StateKey, event: &Event| {
            let in_the_end = match self.delta {
                Some(_) => latest.get(key).copied().flatten(),
                None => self.current.get(key).copied(),
            };
            in_the_end != Some(event.nid)
        };
        let wrong = self.timeline.entries.iter().filter(|(key, (_, last))| is_wrong(key, last));
        self.cut = wrong.map(|(_, (_, last))| position(last)).max();
        if self.cut.is_some() {
            self.timeline = Shown::after(self.cut, self.events);
        }
    }
}

/// The member events of an answer, with their rooms: those that a device that loads members lazily
/// will then have.
pub(crate) fn members<'a>(
    events: impl IntoIterator<Item = &'a Arc<Event>>,
) -> impl Iterator<Item = (RoomNid, EventNid)> {
    events
        .into_iter()
        .filter(|event| event.pdu.event_type == TimelineEventType::RoomMember)
        .map(|event| (event.room, event.nid))
}
