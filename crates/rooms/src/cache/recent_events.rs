//! The newest events of rooms, in memory.

use std::sync::Arc;

use stoa_base::{EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::log::{EventStatus, Stream, Topic};

use crate::{
    cache::recent::{Recent, RecentRow, SharedRecent},
    graph::{event::Event, events::Events},
};

/// The newest events of rooms, so that readers that wait for them read no table.
#[derive(Debug)]
pub(crate) struct RecentEvents {
    pub(crate) recent: SharedRecent<Arc<Event>>,
    events: Events,
}

impl RecentRow for Arc<Event> {
    fn pos(&self) -> Pos {
        self.pos.unwrap_or(Pos::START)
    }

    fn weight(&self) -> usize {
        Event::weight(self)
    }
}

impl RecentEvents {
    pub(crate) fn new(events: Events, max_bytes: usize) -> Self {
        Self { recent: SharedRecent::new(max_bytes), events }
    }

    /// Keeps events that were read: the newest ones of a room after `since` and up to `up_to`,
    /// newest first. `more` says whether there are older ones after `since`.
    pub(crate) fn fill(
        &self,
        room: RoomNid,
        newest_first: &[Arc<Event>],
        more: bool,
        since: Pos,
        up_to: Pos,
    ) {
        let rows: Vec<_> = newest_first.iter().rev().cloned().collect();
        // If backfilled events lie in this range, its order is not that of the log.
        if rows.iter().all(|event| event.pos.is_some()) {
            let oldest = rows.first().filter(|_| more);
            let after = oldest.map_or(since, |oldest| Pos(oldest.pos().0 - 1));
            self.recent.lock().fill(room, rows, after, up_to);
        }
    }

    fn push(&self, recent: &mut Recent<Arc<Event>>, room: RoomNid, nid: EventNid, last: Pos) {
        match self.events.in_memory(nid) {
            Some(event) if event.status != EventStatus::Accepted => {}
            Some(event) if event.pos.is_some() => recent.push(room, event),
            _ => recent.lose(room, last),
        }
    }
}

impl CacheKeeper for RecentEvents {
    fn apply(&self, batch: Batch<'_>) {
        let mut recent = self.recent.lock();
        recent.apply(batch.last);
        let is_known = batch.appends.is_some() || batch.rows.is_some();
        for (stream, topic) in batch.touched.iter() {
            if let Topic::Room(room) = topic
                && (stream == Stream::Redaction || (stream == Stream::Timeline && !is_known))
            {
                recent.lose(RoomNid(*room), batch.last);
            }
        }
        for row in batch.rows.into_iter().flat_map(|rows| rows.events) {
            self.push(&mut recent, row.room, row.nid, batch.last);
        }
        for (_, append) in batch.appends.into_iter().flatten() {
            for row in append.event_updates.iter().filter(|row| row.pos.is_some()) {
                // An outlier was promoted. This is rare, and the row does not name the room.
                if let Some(event) = self.events.in_memory(row.nid) {
                    recent.lose(event.room, batch.last);
                } else {
                    recent.clear(batch.last);
                }
            }
            for row in append.events.iter().filter(|row| row.pos.is_some()) {
                self.push(&mut recent, row.room_nid, row.nid, batch.last);
            }
        }
    }

    fn clear(&self, head: Pos) {
        self.recent.lock().clear(head);
    }
}
