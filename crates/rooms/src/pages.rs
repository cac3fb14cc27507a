//! Many events, read some at a time, so that no more of them are in memory than is allowed.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{Allowance, EventNid};

use crate::{Result, Rooms, events::Event};

/// How many events are read at first, when nobody knows how large they are, and at once at most.
const FIRST: usize = 50;
const MOST: usize = 500;

/// About how many bytes of events are read at once.
const BYTES: usize = 1 << 20;

/// Whether events stay in memory for others who ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// They do.
    InMemory,
    /// They do not: others may never ask for them, and they would push out all else.
    No,
}

/// A list of events that is read some at a time: as many as are about [`BYTES`], as far as those
/// before tell.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    rest: &'a [EventNid],
    next: usize,
}

impl<'a> Pages<'a> {
    pub(crate) const fn new(nids: &'a [EventNid]) -> Self {
        Self { rest: nids, next: FIRST }
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
    pub async fn events_within(
        &self,
        nids: &[EventNid],
        stay: Stay,
        allowance: &Allowance,
    ) -> Result<HashMap<EventNid, Arc<Event>>> {
        let mut found = HashMap::new();
        let mut pages = Pages::new(nids);
        while let Some(page) = pages.next() {
            let events: HashMap<EventNid, Arc<Event>> = match stay {
                Stay::InMemory => self.events.get_many(page.iter().copied()).await?,
                Stay::No => {
                    let events = self.events.read_many(page).await?;
                    events.into_iter().map(|event| (event.nid, event)).collect()
                }
            };
            allowance.take(pages.learn(events.values()))?;
            if found.is_empty() {
                found = events;
            } else {
                found.extend(events);
            }
        }
        Ok(found)
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
