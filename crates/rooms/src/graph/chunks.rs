//! Reads many events in chunks, so that no more of them are in memory than is allowed.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{Allowance, EventNid};

use crate::{
    error::Result,
    graph::{event::Event, events::Events},
};

/// How many events are read first, while their size is unknown, and at most how many at once.
pub(crate) const FIRST: usize = 50;
const MOST: usize = 500;

/// About how many bytes of events are read at once.
const BYTES: usize = 1 << 20;

/// Whether events that are read from the database are kept in memory for other readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// They are kept.
    Fill,
    /// They are not kept: other readers may never need them, and they would evict everything else.
    Bypass,
}

/// A list of events that is read in chunks of about [`BYTES`], estimated from the size of the
/// events in the previous chunk.
#[derive(Debug)]
pub(crate) struct Chunks<'a> {
    rest: &'a [EventNid],
    next: usize,
}

impl<'a> Chunks<'a> {
    pub(crate) const fn new(nids: &'a [EventNid]) -> Self {
        Self::beginning_with(FIRST, nids)
    }

    /// Like [`Chunks::new`], with a first chunk of this many events.
    pub(crate) const fn beginning_with(first: usize, nids: &'a [EventNid]) -> Self {
        Self { rest: nids, next: first }
    }

    /// The events to read next.
    pub(crate) fn next(&mut self) -> Option<&'a [EventNid]> {
        let (chunk, rest) = self.rest.split_at(self.next.min(self.rest.len()));
        self.rest = rest;
        (!chunk.is_empty()).then_some(chunk)
    }

    /// Learns the size of events from a chunk that was read. Returns how many bytes the chunk
    /// takes.
    pub(crate) fn learn<'e>(&mut self, chunk: impl IntoIterator<Item = &'e Arc<Event>>) -> u64 {
        self.learn_sizes(chunk.into_iter().map(|event| event.weight()))
    }

    fn learn_sizes(&mut self, sizes: impl Iterator<Item = usize>) -> u64 {
        let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
        let fit = (BYTES * count).checked_div(bytes).unwrap_or(FIRST);
        // Growth is gradual, because the following events may be larger.
        self.next = fit.min(2 * self.next).clamp(1, MOST);
        bytes as u64
    }
}

impl Events {
    /// The events with these internal numbers. Fails if they take more memory than is allowed.
    #[tracing::instrument(name = "read_events", level = "debug", skip_all, fields(events = nids.len()))]
    pub async fn within(
        &self,
        nids: &[EventNid],
        caching: Caching,
        allowance: &Allowance,
    ) -> Result<HashMap<EventNid, Arc<Event>>> {
        let mut found = HashMap::with_capacity(nids.len());
        let mut chunks = Chunks::new(nids);
        while let Some(chunk) = chunks.next() {
            let bytes = match caching {
                Caching::Fill => {
                    let events = self.get_many(chunk.iter().copied()).await?;
                    let bytes = chunks.learn(events.values());
                    found.extend(events);
                    bytes
                }
                Caching::Bypass => {
                    let events = self.read_many(chunk).await?;
                    let bytes = chunks.learn(&events);
                    found.extend(events.into_iter().map(|event| (event.nid, event)));
                    bytes
                }
            };
            allowance.take(bytes)?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the chunks in which 2,000 events of `bytes` each are read.
    fn sizes(bytes: usize) -> Vec<usize> {
        let nids: Vec<EventNid> = (0..2_000).map(EventNid).collect();
        let mut chunks = Chunks::new(&nids);
        let mut sizes = Vec::new();
        let mut read = Vec::new();
        while let Some(chunk) = chunks.next() {
            sizes.push(chunk.len());
            read.extend_from_slice(chunk);
            chunks.learn_sizes(chunk.iter().map(|_| bytes));
        }
        assert_eq!(read, nids);
        sizes
    }

    #[test]
    fn larger_events_are_read_in_smaller_chunks() {
        assert_eq!(sizes(2_000), [50, 100, 200, 400, 500, 500, 250]);
        assert_eq!(sizes(10_000)[..4], [50, 100, 104, 104]);
        assert_eq!(sizes(130_000)[..3], [50, 8, 8]);
        assert_eq!(sizes(0)[..2], [50, 50]);
        assert_eq!(sizes(2_000_000)[..3], [50, 1, 1]);
    }
}
