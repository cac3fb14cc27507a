//! What a client wants to know about rooms.

use crate::filter::{EventFields, EventFilter};

/// What the client wants of the news of rooms.
#[derive(Debug)]
pub struct Wants<'a> {
    /// What it wants of their timelines.
    pub timeline: TimelineWants<'a>,
    /// What it wants of their state.
    pub state: StateWants<'a>,
    /// Which typing notifications and receipts it wants.
    pub ephemeral: EventFilter<'a>,
    /// Which of the reader's account data for them it wants.
    pub account_data: EventFilter<'a>,
    /// How the events of timelines and state are formatted.
    pub format: EventFormat,
    /// Which fields of these events it wants. None: all.
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
    /// How many events of one room an answer has at most.
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

/// Which members are sent with the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Everybody.
    All,
    /// The reader, the senders of the timeline's events, and the heroes.
    Lazily {
        /// Whether they are sent even if the device already has them.
        include_redundant: bool,
    },
}

impl Members {
    pub(crate) const fn are_lazy(self) -> bool {
        matches!(self, Self::Lazily { .. })
    }
}

/// How events are formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// The client-server format.
    Client,
    /// The server-server format.
    Federation,
}
