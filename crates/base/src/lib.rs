//! What every part of Stoa shares and that does no I/O: internal identifiers, log positions, names of
//! devices, the clock, randomness, networks that requests come from, the actor on whose behalf a change is made,
//! how much memory an answer may take, and what the time of a request is spent on.

mod actor;
mod allowance;
mod clock;
mod device_key;
mod network;
mod nid;
mod random;
mod time_spent;

pub use self::{
    actor::Actor,
    allowance::{Allowance, Exceeded},
    clock::{Clock, ManualClock},
    device_key::DeviceKey,
    network::Network,
    nid::{EventNid, Nid, Pos, RoomNid, StateNid},
    random::Random,
    time_spent::{Spending, TimeSpent},
};
