//! Rooms: the event graph, authorization, state, membership, and who may see what.
//!
//! [`Rooms`] is built once. It consists of parts, one for each activity. The parts that change
//! rooms take an [`Actor`](stoa_base::Actor), build events on the room's head in memory, and return
//! when these are flushed. The parts that read take the reader, and give only what that user is
//! allowed to see. Events from other servers come in through [`Receiving`].
//!
//! The folders depend on one another in this order: `write/` on `read/`, both on `cache/`, and all
//! of them on `graph/`.

mod cache;
mod error;
mod graph;
mod key;
mod options;
mod read;
mod rooms;
mod write;

pub use stoa_base::MemberProfile;

pub use self::{
    cache::{
        RoomCaches,
        known_rooms::KnownRooms,
        memberships::{Membership, MembershipCache, Memberships, MembershipsOfUser},
        room::{Committed, Room},
        transactions::Transaction,
    },
    error::{Result, RoomError},
    graph::{
        chunks::Caching,
        event::Event,
        events::Events,
        forks::Forks,
        pdu,
        power::Power,
        resolution,
        state::{self, States},
        state_events::StateEvents,
    },
    key::load_or_create as load_or_create_key,
    options::RoomsOptions,
    read::{
        client_format::{ClientFormat, Recipient},
        erased::ErasedContent,
        members::Members,
        page::Page,
        room_state::RoomStates,
        state_changes::StateChanges,
        timeline::Timelines,
        tokens,
        visibility::{Seen, ShownEvent, Visibility},
        visible_state::{VisibleState, VisibleStates},
    },
    rooms::{Parts, Rooms},
    write::{
        create::{CreateRoom, Creation, Preset},
        membership::{MembershipChange, MembershipChanges},
        receive::{Received, Receiving},
        send::Sending,
    },
};
