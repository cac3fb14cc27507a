//! Timelines: the events of rooms that the reader may see, newest last.

use std::{collections::BTreeMap, sync::Arc};

use stoa_base::Pos;
use stoa_rooms::{Event, Page, Room, Rooms, ShownEvent, tokens::PaginationToken};
use stoa_storage::{
    log::{Stream, Topic},
    repo::events::Order,
};

use crate::{
    ChangeIndex, Reader, Result,
    span::{ByRoom, Span},
    wants::TimelineWants,
};

/// How many bytes of events of one room an answer has at most. The newest event is included however
/// large it is.
const MAX_BYTES: usize = 1 << 20;
/// How many chunks of older events are read when too few events may be shown. [`TimelineReader::fill`]
/// determines the size of a chunk.
const ROUNDS: usize = 4;
/// If the filter excludes events, four times as many as wanted are read together, and at least four
/// times this number.
const MIN_WANTED: usize = 10;
/// How many events are read together at most.
const MAX_LOOK: usize = 500;

pub(crate) struct TimelineReader<'a> {
    pub(crate) rooms: &'a Rooms,
    pub(crate) changes: &'a ChangeIndex,
    pub(crate) wants: &'a TimelineWants<'a>,
}

/// A stretch of a room's timeline.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// The events, oldest first, each with the reader's membership at it.
    pub(crate) events: Vec<ShownEvent>,
    /// Whether there are older events that the client lacks.
    pub(crate) limited: bool,
    /// The gap before the first event.
    pub(crate) start: Order,
}

impl Timeline {
    /// Drops all events up to `pos`. The client can page back to get them.
    pub(crate) fn cut(&mut self, pos: Pos) {
        self.events.retain(|(event, _)| event.order.is_some_and(|order| order.pos > pos.0));
        self.limited = true;
        self.start = Order::after(pos);
    }
}

impl TimelineReader<'_> {
    /// The timeline of each span. Every span gets one, even if it is empty.
    pub(crate) async fn read(&self, reader: &Reader, spans: &[Span]) -> Result<ByRoom<Timeline>> {
        let limit = self.wants.limit.min(TimelineWants::MAX_LIMIT);
        let pages = self.newest(reader, spans, limit).await?;
        let all: Vec<Arc<Event>> =
            pages.iter().flat_map(|page| page.events.iter().cloned()).collect();
        let mut seen = if all.is_empty() {
            Vec::new()
        } else {
            let has_events = spans.iter().zip(&pages).filter(|(_, page)| !page.events.is_empty());
            let rooms: Vec<&Arc<Room>> = has_events.map(|(span, _)| &span.room).collect();
            self.rooms.visibility.see_in(&reader.user_id, rooms, &all).await?
        }
        .into_iter();

        let mut timelines = ByRoom::new();
        for (span, page) in spans.iter().zip(pages) {
            let oldest = page.events.first().and_then(|event| event.order);
            let seen = seen.by_ref().take(page.events.len());
            let shown = page.events.into_iter().zip(seen);
            let mut events: Vec<ShownEvent> = shown
                .filter_map(|(event, seen)| seen.show(event))
                .filter(|(event, _)| self.wants.filter.passes_event(event))
                .collect();
            let mut more = page.more;
            if more
                && events.len() < limit
                && !is_long(&events)
                && let Some(oldest) = oldest
            {
                more = self.fill(reader, span, &mut events, oldest, limit).await?;
            }
            more |= shorten(&mut events);
            let first = events.first().and_then(|(event, _)| event.order);
            let timeline = Timeline {
                events,
                limited: more || span.has_gap,
                start: first.map_or_else(
                    || Order::after(span.up_to),
                    |order| PaginationToken::before(order).0,
                ),
            };
            timelines.insert(span.room.nid, timeline);
        }
        Ok(timelines)
    }

    /// The newest events of each span, before visibility is checked. Those that are not in memory
    /// take one query for all spans between the same positions.
    async fn newest(&self, reader: &Reader, spans: &[Span], limit: usize) -> Result<Vec<Page>> {
        let allowance = &reader.allowance;
        let mut together: BTreeMap<(Pos, Pos), Vec<&Room>> = BTreeMap::new();
        for span in spans {
            let filter = &self.wants.filter;
            let is_asked_for = !filter.passes_none() && filter.is_about(&span.room.id);
            if is_asked_for && self.has_moved(span).await? {
                let since = span.after.unwrap_or(Pos::START);
                together.entry((since, span.up_to)).or_default().push(&span.room);
            }
        }
        let mut pages = ByRoom::new();
        for ((since, up_to), rooms) in together {
            let newest = self
                .rooms
                .timelines
                .unchecked_newest_of_rooms(&rooms, since, up_to, limit, allowance);
            pages.extend(newest.await?);
        }
        let page = |span: &Span| pages.remove(&span.room.nid).unwrap_or_default();
        Ok(spans.iter().map(page).collect())
    }

    /// Whether a span may contain events. The room is in memory.
    async fn has_moved(&self, span: &Span) -> Result<bool> {
        let Some(after) = span.after else { return Ok(true) };
        let topic = Topic::from(span.room.nid);
        Ok(self.changes.may_have_changed(&topic, &[Stream::Timeline], after)
            && self.rooms.known.committed(&span.room).await?.head_pos > after)
    }

    /// Prepends older events to `events`, which reach back to `oldest`, until there are `limit` of
    /// them or they exceed [`MAX_BYTES`]. Returns whether there may be more.
    async fn fill(
        &self,
        reader: &Reader,
        span: &Span,
        events: &mut Vec<ShownEvent>,
        mut oldest: Order,
        limit: usize,
    ) -> Result<bool> {
        let until = span.after.map_or(Order::START, Order::after);
        let chunk = if self.wants.filter.passes_all() { limit } else { 4 * limit.max(MIN_WANTED) };
        let mut left = ROUNDS * chunk;
        while left > 0 {
            let from = PaginationToken::before(oldest).0;
            let look = left.min(chunk).min(MAX_LOOK);
            left -= look;
            let page = self
                .rooms
                .timelines
                .unchecked_before(&span.room, from, until, look, &reader.allowance)
                .await?;
            let Some(last) = page.events.last().and_then(|event| event.order) else {
                return Ok(false);
            };
            oldest = last;
            let mut dropped = page.weight();
            let shown =
                self.rooms.visibility.visible(&reader.user_id, &span.room, page.events).await?;
            let mut is_full = false;
            for (event, membership) in shown {
                if self.wants.filter.passes_event(&event) {
                    is_full = events.len() >= limit;
                    if is_full {
                        break;
                    }
                    dropped = dropped.saturating_sub(event.weight() as u64);
                    events.insert(0, (event, membership));
                }
            }
            reader.allowance.give_back(dropped);
            if is_full {
                return Ok(true);
            }
            if !page.more {
                return Ok(false);
            }
            if events.len() >= limit || is_long(events) {
                return Ok(true);
            }
        }
        Ok(true)
    }
}

/// Whether a timeline exceeds the limit in bytes.
fn is_long(events: &[ShownEvent]) -> bool {
    events.iter().map(|(event, _)| event.pdu.json().len()).sum::<usize>() > MAX_BYTES
}

/// Drops the oldest events of a timeline that exceeds the limit in bytes. Returns whether it
/// dropped any.
fn shorten(events: &mut Vec<ShownEvent>) -> bool {
    let mut bytes = 0;
    let newest = events.iter().rev().take_while(|(event, _)| {
        bytes += event.pdu.json().len();
        bytes <= MAX_BYTES
    });
    let surplus = events.len().saturating_sub(newest.count().max(1));
    events.drain(..surplus);
    surplus > 0
}
