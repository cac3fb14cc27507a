//! A page of a room's timeline.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{Allowance, EventNid};

use crate::{
    error::Result,
    graph::{
        chunks::{Caching, Chunks, FIRST},
        event::Event,
        events::{Events, missing},
    },
};

/// If several lists are read, how many events of each are read first, at least.
const FIRST_OF_MANY: usize = 16;

/// A page ends early once its events take more bytes than this, roughly.
const PAGE_BYTES: u64 = 4 << 20;

/// A stretch of a room's timeline.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, in the requested order.
    pub events: Vec<Arc<Event>>,
    /// Whether there are more after the last one.
    pub more: bool,
}

impl Page {
    /// How many bytes the events take, roughly.
    pub fn weight(&self) -> u64 {
        self.events.iter().map(|event| event.weight() as u64).sum()
    }
}

/// The first page of each of these lists of events: at most `limit` events, and fewer if they take
/// more than [`PAGE_BYTES`]. Fails if all pages together take more memory than is allowed. `more`
/// says whether the list has further events.
pub(crate) async fn read_pages(
    events: &Events,
    lists: &[Vec<EventNid>],
    limit: usize,
    allowance: &Allowance,
) -> Result<Vec<Page>> {
    let first = FIRST_OF_MANY.max(FIRST / lists.len().max(1));
    let mut readings: Vec<Reading<'_>> =
        lists.iter().map(|nids| Reading::new(nids, limit, first)).collect();
    loop {
        let next: Vec<&[EventNid]> = readings.iter_mut().map(Reading::next).collect();
        let nids = next.concat();
        if nids.is_empty() {
            return Ok(readings.into_iter().map(|reading| reading.page).collect());
        }
        let found = events.within(&nids, Caching::Fill, allowance).await?;
        for (reading, nids) in readings.iter_mut().zip(next) {
            reading.add(nids, &found)?;
        }
    }
}

/// A page that is being read.
struct Reading<'a> {
    chunks: Chunks<'a>,
    page: Page,
    bytes: u64,
}

impl<'a> Reading<'a> {
    fn new(nids: &'a [EventNid], limit: usize, first: usize) -> Self {
        let wanted = &nids[..limit.min(nids.len())];
        let page =
            Page { events: Vec::with_capacity(wanted.len()), more: wanted.len() < nids.len() };
        Self { chunks: Chunks::beginning_with(first, wanted), page, bytes: 0 }
    }

    /// The events to read next, or none at the end of the page.
    fn next(&mut self) -> &'a [EventNid] {
        let next = self.chunks.next().unwrap_or_default();
        if self.bytes > PAGE_BYTES && !next.is_empty() {
            self.page.more = true;
            self.chunks = Chunks::new(&[]);
            return &[];
        }
        next
    }

    fn add(&mut self, nids: &[EventNid], events: &HashMap<EventNid, Arc<Event>>) -> Result<()> {
        let before = self.page.events.len();
        for nid in nids {
            self.page.events.push(events.get(nid).cloned().ok_or_else(|| missing(*nid))?);
        }
        if !nids.is_empty() {
            self.bytes += self.chunks.learn(&self.page.events[before..]);
        }
        Ok(())
    }
}
