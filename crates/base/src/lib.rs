//! What every part of Stoa shares and that does no I/O: internal identifiers, log positions, the
//! clock, randomness, networks that requests come from, and the actor on whose behalf a change is made.

mod actor;
mod clock;
mod network;
mod nid;
mod random;

pub use self::{
    actor::Actor,
    clock::{Clock, ManualClock},
    network::Network,
    nid::{EventNid, Nid, Pos, RoomNid, StateNid},
    random::Random,
};
