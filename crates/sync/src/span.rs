//! A stretch of a room that an answer covers.

use std::{collections::HashMap, sync::Arc};

use stoa_base::{EventNid, Pos, RoomNid};
use stoa_rooms::Room;

use crate::standing::Departure;

/// News by room.
pub(crate) type ByRoom<T> = HashMap<RoomNid, T>;

/// The stretch of a room that is asked for.
///
/// Timelines are checked against what the reader may see. State, summary, receipts and typing are
/// not: whoever makes a span answers for `end` being set unless the reader is joined to the room.
#[derive(Clone, Debug)]
pub struct Span {
    /// The room.
    pub room: Arc<Room>,
    /// The client has the timeline up to here; none of it where this is none.
    pub after: Option<Pos>,
    /// Nothing after this is shown.
    pub up_to: Pos,
    /// What the client knows of the room's state.
    pub state: KnownState,
    /// Since when members may have changed that the client has, though it is told of the state as if
    /// it knew nothing: where members are loaded lazily, these are told as well.
    pub members_since: Option<Pos>,
    /// Whether the client has to be told that it lacks older events, though it may not.
    pub has_gap: bool,
    /// How the reader is out of the room, where the span ends with it.
    pub end: Option<End>,
}

/// The end of a span of a room that the reader is out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The member event by which they are out of it now, the last that they are shown.
    pub event: EventNid,
    /// How they left it, where they were in it: that may be earlier.
    pub departure: Option<Departure>,
}

impl Span {
    /// Where what the reader may know of the room's state ends.
    pub(crate) fn state_up_to(&self) -> Pos {
        let departure = self.end.and_then(|end| end.departure);
        departure.map_or(self.up_to, |departure| departure.pos)
    }
}

/// What a client knows of a room's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownState {
    /// The state at this position: it is told what changed since.
    At(Pos),
    /// Nothing: it is told all of it.
    Nothing,
    /// The reader may not know it.
    Withheld,
}
