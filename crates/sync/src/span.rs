//! The stretch of a room that an answer covers.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{EventNid, Pos, RoomNid};
use stoa_rooms::Room;

use crate::standing::Departure;

/// News by room.
pub(crate) type ByRoom<T> = HashMap<RoomNid, T>;

/// A stretch of a room to read.
///
/// Timelines are checked against what the reader may see. State, summary, receipts and typing are
/// not: the caller must set `end` unless the reader is joined to the room.
#[derive(Clone, Debug)]
pub struct Span {
    /// The room.
    pub room: Arc<Room>,
    /// The client has the timeline up to here. None: it has none of it.
    pub after: Option<Pos>,
    /// Nothing after this position is shown.
    pub up_to: Pos,
    /// What the client knows of the room's state.
    pub state: KnownState,
    /// Set if the client is sent the state in full although it may have older members: the members
    /// that changed since this position are sent too when members are loaded lazily.
    pub members_since: Option<Pos>,
    /// Whether to tell the client that it lacks older events even if none are found.
    pub has_gap: bool,
    /// How the reader left the room, if they are out of it at the end of the span.
    pub end: Option<End>,
}

/// The end of a span of a room that the reader is no longer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The member event that currently keeps them out. It is the last event they are shown.
    pub event: EventNid,
    /// How they left the room, if they were ever in it. That may have been earlier.
    pub departure: Option<Departure>,
}

impl Span {
    /// The position up to which the reader may know the room's state.
    pub(crate) fn state_up_to(&self) -> Pos {
        let departure = self.end.and_then(|end| end.departure);
        departure.map_or(self.up_to, |departure| departure.pos)
    }
}

/// What a client knows of a room's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownState {
    /// The state at this position. It is sent the changes since then.
    At(Pos),
    /// Nothing. It is sent the whole state.
    Nothing,
    /// The reader is not allowed to know the state.
    Withheld,
}
