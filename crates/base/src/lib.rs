//! Types without I/O that every part of Stoa shares: internal identifiers, log positions, device
//! keys, the clock, randomness, networks that requests come from, the actor on whose behalf a
//! change is made, memory allowances for answers, and how a request spends its time.

mod actor;
mod allowance;
mod clock;
mod device_key;
mod member_profile;
mod network;
mod nid;
mod random;
mod time_spent;

pub use self::{
    actor::Actor,
    allowance::{Allowance, Exceeded},
    clock::{Clock, ManualClock},
    device_key::DeviceKey,
    member_profile::MemberProfile,
    network::Network,
    nid::{EventNid, Nid, Pos, RoomNid, StateNid},
    random::Random,
    time_spent::{Spending, TimeSpent},
};
