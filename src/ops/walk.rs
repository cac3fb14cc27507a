//! Walking through a room's events, page by page.

use std::{collections::VecDeque, sync::Arc};

use ruma::{UserId, api::Direction};
use stoa_base::Allowance;
use stoa_http::Result;
use stoa_rooms::{Event, Room, Rooms, Seen, ShownEvent, tokens::PaginationToken};
use stoa_storage::repo::events::Order;

/// How many events one walk may look at, including those that the filter or the room's history
/// visibility withholds.
const MAX_LOOKED_AT: usize = 5_000;

/// How many events are read at once at least, and at most.
const MIN_READ: usize = 50;
const MAX_READ: usize = 100;

/// A walk through a room's events in one direction, over those that the reader may see.
pub(crate) struct Walk<'a> {
    rooms: &'a Rooms,
    room: &'a Room,
    reader: &'a UserId,
    direction: Direction,
    start: PaginationToken,
    /// The gap between events that the walk has reached.
    at: Order,
    /// The gap at which it ends.
    until: Order,
    /// Events that were read and not returned yet, each with whether the reader may see it.
    ahead: VecDeque<(Arc<Event>, Seen)>,
    /// Whether there may be more events to read.
    more: bool,
    looked_at: usize,
}

impl<'a> Walk<'a> {
    /// A walk from one gap between events to another. By default it starts at the newest event, or
    /// at the first one, and goes to the end in this direction.
    pub(crate) async fn new(
        rooms: &'a Rooms,
        room: &'a Room,
        reader: &'a UserId,
        direction: Direction,
        from: Option<Order>,
        to: Option<Order>,
    ) -> Result<Self> {
        // Events outside that range are skipped at once, instead of being looked at one by one.
        let reach = rooms.visibility.reach(reader, room).await?;
        let (from, at, until) = match direction {
            Direction::Backward => {
                let newest = Order::after(rooms.known.committed(room).await?.head_pos);
                let from = from.unwrap_or(newest);
                (from, from.min(reach), to.unwrap_or(Order::START))
            }
            Direction::Forward => {
                let from = from.unwrap_or(Order::START);
                (from, from, to.unwrap_or(Order::END).min(reach))
            }
        };
        Ok(Self {
            rooms,
            room,
            reader,
            direction,
            start: PaginationToken::after(from),
            at,
            until,
            ahead: VecDeque::new(),
            more: true,
            looked_at: 0,
        })
    }

    /// The next event that the reader may see, with the reader's membership at it. Fails if the
    /// reads exceed the memory allowance. `limit` is the number of events wanted at most.
    pub(crate) async fn next(
        &mut self,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<Option<ShownEvent>> {
        loop {
            if let Some((event, seen)) = self.ahead.pop_front() {
                if let Some(order) = event.order {
                    self.at = match self.direction {
                        Direction::Backward => PaginationToken::before(order).0,
                        Direction::Forward => order,
                    };
                }
                let weight = event.weight() as u64;
                if let Some(shown) = seen.show(event) {
                    return Ok(Some(shown));
                }
                allowance.give_back(weight);
            } else if self.more && self.looked_at < MAX_LOOKED_AT {
                self.read(limit.clamp(MIN_READ, MAX_READ), allowance).await?;
            } else {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self, limit: usize, allowance: &Allowance) -> Result<()> {
        let Self { rooms, room, at, until, .. } = *self;
        let page = match self.direction {
            Direction::Backward => {
                rooms.timelines.unchecked_before(room, at, until, limit, allowance).await?
            }
            Direction::Forward => {
                rooms.timelines.unchecked_after(room, at, until, limit, allowance).await?
            }
        };
        self.more = page.more;
        self.looked_at += page.events.len();
        let seen = self.rooms.visibility.see(self.reader, self.room, &page.events).await?;
        self.ahead.extend(page.events.into_iter().zip(seen));
        Ok(())
    }

    /// Whether there is nothing more in this direction.
    pub(crate) fn is_end(&self) -> bool {
        !self.more && self.ahead.is_empty()
    }

    /// The gap at which it began.
    pub(crate) const fn start(&self) -> PaginationToken {
        self.start
    }

    /// The gap that it has reached.
    pub(crate) const fn at(&self) -> PaginationToken {
        PaginationToken::after(self.at)
    }
}
