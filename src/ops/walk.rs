//! Walking through a room's events, page by page.

use std::{collections::VecDeque, sync::Arc};

use ruma::{UserId, api::Direction};
use stoa_base::Allowance;
use stoa_http::Result;
use stoa_rooms::{Event, Room, Rooms, Seen, ShownEvent, tokens::PaginationToken};
use stoa_storage::repo::events::Order;

/// How many events one walk may look at, those included that the filter or the room's history
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
    /// The gap that the walk has come to.
    at: Order,
    /// Where it ends at the latest.
    until: Order,
    /// What was read and not given yet, each with whether it may be seen.
    ahead: VecDeque<(Arc<Event>, Seen)>,
    /// Whether there may be more than what was read.
    more: bool,
    looked_at: usize,
}

impl<'a> Walk<'a> {
    /// A walk from a gap between events to another; else from the newest event, or from the first, to
    /// the end in this direction.
    pub(crate) async fn new(
        rooms: &'a Rooms,
        room: &'a Room,
        reader: &'a UserId,
        direction: Direction,
        from: Option<Order>,
        to: Option<Order>,
    ) -> Result<Self> {
        // What lies beyond is passed over at once, instead of being looked at event by event.
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

    /// The next event that the reader may see, with their membership at it, as long as what is read
    /// does not take more than is allowed. `limit` says how many may be wanted.
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

    /// Where it began.
    pub(crate) const fn start(&self) -> PaginationToken {
        self.start
    }

    /// The gap that it has come to.
    pub(crate) const fn at(&self) -> PaginationToken {
        PaginationToken::after(self.at)
    }
}
