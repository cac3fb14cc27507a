//! What every part of Stoa shares and that does no I/O: internal identifiers, log positions, the
//! clock, randomness, networks that requests come from, the actor on whose behalf a change is made, and
//! how much memory an answer may take.

mod actor;
mod allowance;
mod clock;
mod network;
mod nid;
mod random;

pub use self::{
    actor::Actor,
    allowance::{Allowance, Exceeded},
    clock::{Clock, ManualClock},
    network::Network,
    nid::{EventNid, Nid, Pos, RoomNid, StateNid},
    random::Random,
};
