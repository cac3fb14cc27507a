//! Rooms' timelines as sync and `/messages` page through them, without visibility checks.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{Allowance, EventNid, Pos, RoomNid};
use stoa_storage::{
    Store,
    repo::{self, events::Order},
};

use crate::{
    cache::{recent::Newest, recent_events::RecentEvents, room::Room},
    error::{Result, RoomError},
    graph::events::Events,
    read::page::{Page, read_pages},
};

/// How many bytes an event's internal number takes in a list, roughly.
const NUMBER_BYTES: u64 = 32;

/// How many internal numbers of events are read at once at most.
const MOST_NUMBERS: usize = 50_000;

/// The timelines of all rooms.
#[derive(Clone, Debug)]
pub struct Timelines {
    pub(crate) store: Store,
    pub(crate) events: Events,
    pub(crate) recent: Arc<RecentEvents>,
}

impl Timelines {
    /// The newest events of a room after `since` and up to `up_to`, at most `limit`, oldest first.
    /// This node must have applied `up_to`. `more` says whether there are older ones after `since`.
    /// Fails if the events take more memory than is allowed.
    pub async fn unchecked_newest(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<Page> {
        let look = || self.newest_in_memory(room, since, up_to, limit, allowance);
        let read = async {
            let after = after(since);
            let one_more = limit.saturating_add(1);
            let from = Order::after(up_to);
            let mut page = self.unchecked_before(room, from, after, one_more, allowance).await?;
            self.recent.fill(room.nid, &page.events, page.more, since, up_to);
            page.more |= page.events.len() > limit;
            page.events.truncate(limit);
            page.events.reverse();
            Ok::<_, RoomError>(page)
        };
        self.recent.recent.reading.look_or_read(room.nid, look, read).await
    }

    /// Like [`Timelines::unchecked_newest`], for several rooms. Fails if their events together take
    /// more memory than is allowed. A room without events may be absent.
    pub async fn unchecked_newest_of_rooms(
        &self,
        rooms: &[&Room],
        since: Pos,
        up_to: Pos,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<HashMap<RoomNid, Page>> {
        let mut pages = HashMap::new();
        let mut missing = Vec::new();
        for room in rooms {
            match self.newest_in_memory(room, since, up_to, limit, allowance) {
                Some(page) => {
                    pages.insert(room.nid, page?);
                }
                None => missing.push(*room),
            }
        }
        if let [room] = missing[..] {
            pages.insert(
                room.nid,
                self.unchecked_newest(room, since, up_to, limit, allowance).await?,
            );
            return Ok(pages);
        }
        if missing.is_empty() {
            return Ok(pages);
        }
        let at_once = (MOST_NUMBERS / limit.saturating_add(1)).max(1);
        for rooms in missing.chunks(at_once) {
            let (rooms, lists): (Vec<_>, Vec<_>) = {
                let mut conn = self.store.read().await?;
                let rooms = rooms.iter().map(|room| room.nid);
                let (after, limit) = (after(since), row_limit(limit));
                let found = repo::events::newest_nids(&mut conn, rooms, after, up_to, limit);
                found.await?.into_iter().unzip()
            };
            let numbers = NUMBER_BYTES * lists.iter().map(|nids| nids.len() as u64).sum::<u64>();
            allowance.take(numbers)?;
            let found = read_pages(&self.events, &lists, limit, allowance).await?;
            allowance.give_back(numbers);
            pages.extend(rooms.into_iter().zip(found.into_iter().map(|mut page| {
                page.events.reverse();
                page
            })));
        }
        Ok(pages)
    }

    /// The events of a room up to `from` and after `until`, at most `limit`, newest first. Fails if
    /// they take more memory than is allowed.
    pub async fn unchecked_before(
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

    /// The events of a room after `from` and up to `until`, at most `limit`, oldest first. Fails if
    /// they take more memory than is allowed.
    pub async fn unchecked_after(
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

    /// The newest events, or none if not all of them are in memory.
    fn newest_in_memory(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
        limit: usize,
        allowance: &Allowance,
    ) -> Option<Result<Page>> {
        let newest = self.recent.recent.lock().newest(room.nid, since, up_to, limit)?;
        let Newest { rows: events, more } = newest;
        let page = Page { events, more };
        Some(allowance.take(page.weight()).map(|()| page).map_err(Into::into))
    }

    async fn page(&self, nids: Vec<EventNid>, limit: usize, allowance: &Allowance) -> Result<Page> {
        Ok(read_pages(&self.events, &[nids], limit, allowance).await?.pop().unwrap_or_default())
    }
}

/// The place in a room's order right after `since`.
fn after(since: Pos) -> Order {
    if since == Pos::START { Order::START } else { Order::after(since) }
}

/// One more than the limit, to find out whether there are more.
fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}
