//! What every part of Stoa shares and that does no I/O: internal identifiers, log positions, the
//! clock, randomness, and the actor on whose behalf a change is made.

mod actor;
mod clock;
mod nid;
mod random;

pub use self::{
    actor::Actor,
    clock::{Clock, ManualClock},
    nid::{EventNid, Nid, Pos, RoomNid, StateNid},
    random::Random,
};
