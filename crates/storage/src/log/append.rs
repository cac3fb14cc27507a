//! One caller's change, as a value.

use std::sync::Arc;

use super::{
    Chain, Touched,
    rows::{
        AccountDataRow, DeviceRemovalRow, EventRow, EventUpdateRow, ForgottenRoomRow,
        MembershipRow, MissingPrevEventRow, ReceiptRow, RedactionRow, RelPos, RoomRow,
        RoomUpdateRow, StateChangeRow, StateNodeRow, TokenRemovalRow,
    },
};

/// What must still be true under the log lock for an append to be written.
#[derive(Clone, Debug)]
pub enum Guard {
    /// The room's state is the one that the append was authorized against.
    State(Arc<Chain>),
    /// The room's state and extremities are the ones that the append was built on.
    Head(Arc<Chain>),
    /// The access token with this hash has not been revoked.
    Session(String),
}

/// Everything that is to be written together, or not at all. Several parts of the program may fill
/// one append.
#[derive(Clone, Debug, Default)]
pub struct Append {
    positions: i64,
    /// What must still be true.
    pub guards: Vec<Guard>,
    /// What readers have to be told.
    pub touched: Touched,
    /// New rooms.
    pub rooms: Vec<RoomRow>,
    /// Changes to rooms' own rows, in order.
    pub room_updates: Vec<RoomUpdateRow>,
    /// New events.
    pub events: Vec<EventRow>,
    /// Changes to events that are there.
    pub event_updates: Vec<EventUpdateRow>,
    /// Previous events that are missing.
    pub missing_prev_events: Vec<MissingPrevEventRow>,
    /// Events that lose their content.
    pub redactions: Vec<RedactionRow>,
    /// New nodes of state trees.
    pub state_nodes: Vec<StateNodeRow>,
    /// Changes of current state.
    pub state_changes: Vec<StateChangeRow>,
    /// Memberships that changed.
    pub memberships: Vec<MembershipRow>,
    /// Rooms that were forgotten.
    pub forgotten_rooms: Vec<ForgottenRoomRow>,
    /// Account data that was set.
    pub account_data: Vec<AccountDataRow>,
    /// Receipts that moved.
    pub receipts: Vec<ReceiptRow>,
    /// Devices that go, with their tokens.
    pub device_removals: Vec<DeviceRemovalRow>,
    /// Access tokens that go.
    pub token_removals: Vec<TokenRemovalRow>,
}

impl Append {
    /// An append that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next position of this append.
    pub fn next_pos(&mut self) -> RelPos {
        self.positions += 1;
        RelPos(self.positions)
    }

    /// How many positions the append takes: one at least, so that each batch moves the head.
    pub(crate) fn positions(&self) -> i64 {
        self.positions.max(1)
    }

    /// A rough size in bytes, for the limits on a batch.
    pub(crate) fn weight(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.json.len() + 256).sum();
        let redactions: usize = self.redactions.iter().map(|row| row.json.len() + 64).sum();
        let nodes: usize = self.state_nodes.iter().map(|row| row.node.len() + 32).sum();
        let data: usize = self.account_data.iter().map(|row| row.content.len() + 128).sum();
        let rest = self.state_changes.len()
            + self.memberships.len()
            + self.receipts.len()
            + self.event_updates.len();
        256 + events + redactions + nodes + data + rest * 192
    }
}
