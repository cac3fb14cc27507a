//! A room's timeline, as sync and `/messages` page through it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use stoa_base::{Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    log::{Stream, Topic},
    repo::{self, events::Order},
};

use crate::{
    Result, Rooms,
    events::{Event, Events},
    room::Room,
};

/// How many of a room's newest events stay in memory.
const RING: usize = 64;

/// How many newest events of all rooms together stay in memory.
const RINGS: usize = 10_000;

/// A stretch of a room's timeline.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, in the order that was asked for.
    pub events: Vec<Arc<Event>>,
    /// Whether there are more beyond the last.
    pub more: bool,
}

impl Rooms {
    /// The newest events of a room after `since` and up to `up_to`, at most `limit`, oldest first.
    /// `more` says that there are older ones after `since`.
    pub async fn newest(&self, room: &Room, since: Pos, up_to: Pos, limit: usize) -> Result<Page> {
        if let Some(mut events) = self.recent.after(room.nid, since, up_to) {
            let surplus = events.len().saturating_sub(limit);
            events.drain(..surplus);
            return Ok(Page { events, more: surplus > 0 });
        }
        let after = if since == Pos::START { Order::START } else { Order::after(since) };
        let mut page = self.before(room, Order::after(up_to), after, limit).await?;
        page.events.reverse();
        Ok(page)
    }

    /// The events of a room up to `from` and after `until`, newest first, at most `limit`.
    pub async fn before(
        &self,
        room: &Room,
        from: Order,
        until: Order,
        limit: usize,
    ) -> Result<Page> {
        let mut conn = self.store.read().await?;
        let rows =
            repo::events::backward(&mut conn, room.nid, from, until, row_limit(limit)).await?;
        Ok(page(self.events.from_rows(&mut conn, rows).await?, limit))
    }

    /// The events of a room after `from` and up to `until`, oldest first, at most `limit`.
    pub async fn after(
        &self,
        room: &Room,
        from: Order,
        until: Order,
        limit: usize,
    ) -> Result<Page> {
        let mut conn = self.store.read().await?;
        let rows =
            repo::events::forward(&mut conn, room.nid, from, until, row_limit(limit)).await?;
        Ok(page(self.events.from_rows(&mut conn, rows).await?, limit))
    }
}

/// One more than asked for, to know whether there are more.
fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn page(mut events: Vec<Arc<Event>>, limit: usize) -> Page {
    let more = events.len() > limit;
    events.truncate(limit);
    Page { events, more }
}

/// The newest events of the rooms that this node wrote to lately, so that the readers who wait for
/// them read no table.
#[derive(Debug)]
pub(crate) struct RecentEvents {
    rings: Mutex<Rings>,
    events: Events,
}

#[derive(Debug, Default)]
struct Rings {
    by_room: HashMap<RoomNid, Ring>,
    /// How many events all rings hold.
    len: usize,
}

impl Rings {
    fn remove(&mut self, room: RoomNid) {
        if let Some(ring) = self.by_room.remove(&room) {
            self.len -= ring.events.len();
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, room: RoomNid, event: Arc<Event>, pos: Pos) {
        let ring = self
            .by_room
            .entry(room)
            .or_insert_with(|| Ring { complete_after: Pos(pos.0 - 1), events: VecDeque::new() });
        ring.events.push_back(event);
        self.len += 1;
        if ring.events.len() > RING
            && let Some(oldest) = ring.events.pop_front()
        {
            ring.complete_after = oldest.pos.unwrap_or(pos);
            self.len -= 1;
        }
        if self.len > RINGS {
            self.drop_quiet_rooms();
        }
    }

    /// Drops the half of the rooms in which nothing happened for the longest time.
    fn drop_quiet_rooms(&mut self) {
        let mut rooms: Vec<(Option<Pos>, RoomNid)> = self
            .by_room
            .iter()
            .map(|(room, ring)| (ring.events.back().and_then(|event| event.pos), *room))
            .collect();
        rooms.sort_unstable();
        for (_, room) in rooms.drain(..rooms.len().div_ceil(2)) {
            self.remove(room);
        }
    }
}

/// The events of a room after a position, without a gap.
#[derive(Debug)]
struct Ring {
    complete_after: Pos,
    events: VecDeque<Arc<Event>>,
}

impl RecentEvents {
    pub(crate) fn new(events: Events) -> Self {
        Self { rings: Mutex::default(), events }
    }

    /// All events of a room after `since` and up to `up_to`, where they are all in memory.
    fn after(&self, room: RoomNid, since: Pos, up_to: Pos) -> Option<Vec<Arc<Event>>> {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = rings.by_room.get(&room).filter(|ring| ring.complete_after <= since)?;
        let in_range =
            |event: &&Arc<Event>| event.pos.is_some_and(|pos| pos > since && pos <= up_to);
        Some(ring.events.iter().filter(in_range).cloned().collect())
    }
}

impl CacheKeeper for RecentEvents {
    fn apply(&self, batch: Batch<'_>) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, topic) in batch.touched.iter() {
            if let Topic::Room(room) = topic
                && (stream == Stream::Redaction
                    || (stream == Stream::Timeline && batch.appends.is_none()))
            {
                rings.remove(RoomNid(*room));
            }
        }
        let Some(appends) = batch.appends else { return };
        for (base, append) in appends {
            for row in append.event_updates.iter().filter(|row| row.pos.is_some()) {
                // An outlier that becomes live: rare, and its room is not in the row.
                if let Some(event) = self.events.in_memory(row.nid) {
                    rings.remove(event.room);
                } else {
                    rings.clear();
                }
            }
            for row in &append.events {
                let Some(pos) = row.pos else { continue };
                let Some(event) = self.events.in_memory(row.nid) else {
                    rings.remove(row.room_nid);
                    continue;
                };
                rings.push(row.room_nid, event, Pos(base.0 + pos.0));
            }
        }
    }

    fn clear(&self, _: Pos) {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
