//! What a client wants to be told of rooms.

use crate::filter::{EventFields, EventFilter};

/// What is wanted of the news of rooms.
#[derive(Debug)]
pub struct Wants<'a> {
    /// Of their timelines.
    pub timeline: TimelineWants<'a>,
    /// Of their state.
    pub state: StateWants<'a>,
    /// Of who is typing and what was read.
    pub ephemeral: EventFilter<'a>,
    /// Of the reader's account data for them.
    pub account_data: EventFilter<'a>,
    /// How the events of timelines and state are written.
    pub format: EventFormat,
    /// Which fields these events have. None: all.
    pub fields: Option<EventFields>,
}

/// What is wanted of timelines.
#[derive(Debug)]
pub struct TimelineWants<'a> {
    /// Which events.
    pub filter: EventFilter<'a>,
    /// How many of each room, up to [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub limit: usize,
}

impl TimelineWants<'_> {
    /// How many events of one room there are at most.
    pub const MAX_LIMIT: usize = 1_000;
}

/// What is wanted of the state of rooms.
#[derive(Debug)]
pub struct StateWants<'a> {
    /// Which events.
    pub filter: EventFilter<'a>,
    /// Which members among them.
    pub members: Members,
    /// Whether it is the state at the end of the timeline, rather than at its start.
    pub at_end: bool,
}

/// Which members are told with the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Everybody.
    All,
    /// The reader, those who sent the events of the timeline, and those by whom the room is called.
    Lazily {
        /// Whether they are told although the device has them.
        include_redundant: bool,
    },
}

impl Members {
    pub(crate) const fn are_lazy(self) -> bool {
        matches!(self, Self::Lazily { .. })
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// As clients get them.
    Client,
    /// As servers exchange them.
    Federation,
}
