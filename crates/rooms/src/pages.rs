//! Many events, read some at a time, so that no more of them are in memory than is allowed.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{Allowance, EventNid};

use crate::{
    Page, Result, Rooms,
    events::{Event, missing},
};

/// How many events are read at first, when nobody knows how large they are, and at once at most.
const FIRST: usize = 50;
const MOST: usize = 500;

/// How many events of each of several lists are read at first at least.
const FIRST_OF_MANY: usize = 16;

/// A page of a timeline ends where its events take more bytes than this, roughly, however many are
/// wanted.
const PAGE_BYTES: u64 = 4 << 20;

/// About how many bytes of events are read at once.
const BYTES: usize = 1 << 20;

/// Whether events that are read from the database are kept in memory for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// They are.
    Fill,
    /// They are not: others may never ask for them, and they would push out all else.
    Bypass,
}

/// A list of events that is read some at a time: each time as many as take about [`BYTES`], judging
/// by the size of those before.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    rest: &'a [EventNid],
    next: usize,
}

impl<'a> Pages<'a> {
    pub(crate) const fn new(nids: &'a [EventNid]) -> Self {
        Self::beginning_with(FIRST, nids)
    }

    const fn beginning_with(first: usize, nids: &'a [EventNid]) -> Self {
        Self { rest: nids, next: first }
    }

    /// The events to be read next.
    pub(crate) fn next(&mut self) -> Option<&'a [EventNid]> {
        let (page, rest) = self.rest.split_at(self.next.min(self.rest.len()));
        self.rest = rest;
        (!page.is_empty()).then_some(page)
    }

    /// Learns from a page how large the events are. Says how many bytes it takes.
    pub(crate) fn learn<'e>(&mut self, page: impl IntoIterator<Item = &'e Arc<Event>>) -> u64 {
        self.learn_sizes(page.into_iter().map(|event| event.weight()))
    }

    fn learn_sizes(&mut self, sizes: impl Iterator<Item = usize>) -> u64 {
        let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
        let fit = (BYTES * count).checked_div(bytes).unwrap_or(FIRST);
        // Step by step: those that follow may be larger.
        self.next = fit.min(2 * self.next).clamp(1, MOST);
        bytes as u64
    }
}

impl Rooms {
    /// The events with these numbers, as long as they do not take more than is allowed.
    #[tracing::instrument(name = "read_events", level = "debug", skip_all, fields(events = nids.len()))]
    pub async fn events_within(
        &self,
        nids: &[EventNid],
        caching: Caching,
        allowance: &Allowance,
    ) -> Result<HashMap<EventNid, Arc<Event>>> {
        let mut found = HashMap::with_capacity(nids.len());
        let mut pages = Pages::new(nids);
        while let Some(page) = pages.next() {
            let bytes = match caching {
                Caching::Fill => {
                    let events = self.events.get_many(page.iter().copied()).await?;
                    let bytes = pages.learn(events.values());
                    found.extend(events);
                    bytes
                }
                Caching::Bypass => {
                    let events = self.events.read_many(page).await?;
                    let bytes = pages.learn(&events);
                    found.extend(events.into_iter().map(|event| (event.nid, event)));
                    bytes
                }
            };
            allowance.take(bytes)?;
        }
        Ok(found)
    }

    /// A page of the first of each of these lists of events: at most `limit`, and fewer where they
    /// take more than [`PAGE_BYTES`]. All of them together take no more than is allowed. `more` says
    /// that the list has others.
    pub(crate) async fn pages(
        &self,
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
            let events = self.events_within(&nids, Caching::Fill, allowance).await?;
            for (reading, nids) in readings.iter_mut().zip(next) {
                reading.add(nids, &events)?;
            }
        }
    }
}

/// A page that is being read.
struct Reading<'a> {
    pages: Pages<'a>,
    page: Page,
    bytes: u64,
}

impl<'a> Reading<'a> {
    fn new(nids: &'a [EventNid], limit: usize, first: usize) -> Self {
        let wanted = &nids[..limit.min(nids.len())];
        let page =
            Page { events: Vec::with_capacity(wanted.len()), more: wanted.len() < nids.len() };
        Self { pages: Pages::beginning_with(first, wanted), page, bytes: 0 }
    }

    /// The events to be read next: none at the end of the page.
    fn next(&mut self) -> &'a [EventNid] {
        let next = self.pages.next().unwrap_or_default();
        if self.bytes > PAGE_BYTES && !next.is_empty() {
            self.page.more = true;
            self.pages = Pages::new(&[]);
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
            self.bytes += self.pages.learn(&self.page.events[before..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many events are read at once, of 2,000 that take `bytes` each.
    fn sizes(bytes: usize) -> Vec<usize> {
        let nids: Vec<EventNid> = (0..2_000).map(EventNid).collect();
        let mut pages = Pages::new(&nids);
        let mut sizes = Vec::new();
        let mut read = Vec::new();
        while let Some(page) = pages.next() {
            sizes.push(page.len());
            read.extend_from_slice(page);
            pages.learn_sizes(page.iter().map(|_| bytes));
        }
        assert_eq!(read, nids);
        sizes
    }

    #[test]
    fn the_larger_events_are_the_fewer_are_read_at_once() {
        assert_eq!(sizes(2_000), [50, 100, 200, 400, 500, 500, 250]);
        assert_eq!(sizes(10_000)[..4], [50, 100, 104, 104]);
        assert_eq!(sizes(130_000)[..3], [50, 8, 8]);
        assert_eq!(sizes(0)[..2], [50, 50]);
        assert_eq!(sizes(2_000_000)[..3], [50, 1, 1]);
    }
}
