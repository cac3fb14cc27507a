//! A room's timeline, as sync and `/messages` page through it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stoa_base::{Allowance, EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, SingleFlight};
use stoa_storage::{
    log::{EventStatus, Stream, Topic},
    repo::{self, events::Order},
};

use crate::{
    Result, Rooms,
    events::{Event, Events},
    recent::{Newest, Recent, RecentRow},
    room::Room,
};

/// A stretch of a room's timeline.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, in the order that was asked for.
    pub events: Vec<Arc<Event>>,
    /// Whether there are more beyond the last.
    pub more: bool,
}

impl Page {
    /// How many bytes its events take, roughly.
    pub fn weight(&self) -> u64 {
        self.events.iter().map(|event| event.weight() as u64).sum()
    }
}

impl Rooms {
    /// The newest events of a room after `since` and up to `up_to`, which this node has applied, at
    /// most `limit`, oldest first, as long as they do not take more than is allowed. `more` says that
    /// there are older ones after `since`.
    pub async fn newest(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<Page> {
        let in_memory = || self.recent.newest(room.nid, since, up_to, limit);
        if let Some(page) = in_memory() {
            allowance.take(page.weight())?;
            return Ok(page);
        }
        // Whoever comes first reads for all.
        let (_mine, others) = self.recent.reading.claim([room.nid]);
        for other in others {
            other.landed().await;
            if let Some(page) = in_memory() {
                allowance.take(page.weight())?;
                return Ok(page);
            }
        }
        let after = if since == Pos::START { Order::START } else { Order::after(since) };
        let one_more = limit.saturating_add(1);
        let mut page = self.before(room, Order::after(up_to), after, one_more, allowance).await?;
        self.recent.fill(room.nid, &page, since, up_to);
        page.more |= page.events.len() > limit;
        page.events.truncate(limit);
        page.events.reverse();
        Ok(page)
    }

    /// The events of a room up to `from` and after `until`, newest first, at most `limit`, as long as
    /// they do not take more than is allowed.
    pub async fn before(
        &self,
        room: &Room,
        from: Order,
        until: Order,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<Page> {
        let mut conn = self.store.read().await?;
        let nids =
            repo::events::backward(&mut conn, room.nid, from, until, row_limit(limit)).await?;
        drop(conn);
        self.page(nids, limit, allowance).await
    }

    /// The events of a room after `from` and up to `until`, oldest first, at most `limit`, as long as
    /// they do not take more than is allowed.
    pub async fn after(
        &self,
        room: &Room,
        from: Order,
        until: Order,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<Page> {
        let mut conn = self.store.read().await?;
        let nids =
            repo::events::forward(&mut conn, room.nid, from, until, row_limit(limit)).await?;
        drop(conn);
        self.page(nids, limit, allowance).await
    }

    async fn page(&self, nids: Vec<EventNid>, limit: usize, allowance: &Allowance) -> Result<Page> {
        Ok(self.pages(&[nids], limit, allowance).await?.pop().unwrap_or_default())
    }
}

/// One more than asked for, to know whether there are more.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// The newest events of rooms, so that those who wait for them read no table.
#[derive(Debug)]
pub(crate) struct RecentEvents {
    recent: Mutex<Recent<Arc<Event>>>,
    events: Events,
    reading: SingleFlight<RoomNid>,
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
        Self {
            recent: Mutex::new(Recent::new(max_bytes)),
            events,
            reading: SingleFlight::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Arc<Event>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// The newest events, where they are in memory.
    pub(crate) fn newest(
        &self,
        room: RoomNid,
        since: Pos,
        up_to: Pos,
        limit: usize,
    ) -> Option<Page> {
        let Newest { rows, more } = self.lock().newest(room, since, up_to, limit)?;
        Some(Page { events: rows, more })
    }

    /// Keeps what was read: the newest events after `since` and up to `up_to`, newest first.
    fn fill(&self, room: RoomNid, page: &Page, since: Pos, up_to: Pos) {
        let rows: Vec<_> = page.events.iter().rev().cloned().collect();
        // Where history was fetched into the stretch, its order is not that of the log.
        if rows.iter().all(|event| event.pos.is_some()) {
            let oldest = rows.first().filter(|_| page.more);
            let after = oldest.map_or(since, |oldest| Pos(oldest.pos().0 - 1));
            self.lock().fill(room, rows, after, up_to);
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
        let mut recent = self.lock();
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
                // An outlier that becomes live: rare, and its room is not in the row.
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
        self.lock().clear(head);
    }
}
