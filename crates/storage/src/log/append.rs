//! One caller's change, as a value.

use std::sync::Arc;

use super::{
    AppendError, Chain, Touched,
    rows::{
        AccountDataRow, DeviceRemovalRow, EventRow, EventUpdateRow, ForgottenRoomRow,
        MembershipRow, MissingPrevEventRow, ReceiptRow, RedactionRow, RelPos, RoomRow,
        RoomUpdateRow, StateChangeRow, StateNodeRow, TokenRemovalRow,
    },
};

/// The longest text that may stand in a key, in bytes. PostgreSQL refuses index entries of more
/// than 2,704 bytes, and none of our keys holds more than three texts without a limit of their own.
const KEY_LIMIT: usize = 512;

/// What must still be true under the log lock for an append to be written. Guards are looked at in
/// the database, and among the appends that are written together.
#[derive(Clone, Debug)]
pub enum Guard {
    /// The room's state is the one that the append was authorized against.
    State(Arc<Chain>),
    /// The room's state and extremities are the ones that the append was built on.
    Head(Arc<Chain>),
    /// The access token with this hash has not been revoked.
    Session(String),
}

impl Guard {
    /// The chain that the guard watches.
    pub(crate) fn chain(&self) -> Option<&Arc<Chain>> {
        match self {
            Self::State(chain) | Self::Head(chain) => Some(chain),
            Self::Session(_) => None,
        }
    }
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

    /// The chains that the append is part of.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.guards.iter().filter_map(Guard::chain)
    }

    /// Refuses what one of the databases cannot hold, before it meets the appends of others.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        let columns = self.events.iter().flat_map(|row| {
            let optional = [&row.state_key, &row.txn_device, &row.txn_id].into_iter().flatten();
            [&row.event_id, &row.sender, &row.kind].into_iter().chain(optional)
        });
        let columns = columns
            .chain(self.rooms.iter().flat_map(|row| [&row.room_id, &row.version]))
            .chain(self.missing_prev_events.iter().map(|row| &row.prev_event_id))
            .chain(self.state_changes.iter().flat_map(|row| [&row.kind, &row.state_key]))
            .chain(self.memberships.iter().flat_map(|row| [&row.user_id, &row.sender]))
            .chain(self.account_data.iter().flat_map(|row| [&row.user_id, &row.kind]))
            .chain(
                self.receipts
                    .iter()
                    .flat_map(|row| [&row.kind, &row.user_id, &row.thread, &row.event_id]),
            );
        for column in columns {
            if column.len() > KEY_LIMIT {
                return Err(AppendError::Refused("an identifier is too long".to_owned()));
            }
            if column.contains('\0') {
                return Err(AppendError::Refused("an identifier holds a null".to_owned()));
            }
        }
        Ok(())
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
