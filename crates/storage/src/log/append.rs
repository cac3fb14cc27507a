//! One caller's change, as a value.

use std::{collections::HashSet, sync::Arc};

use ruma::{DeviceId, UserId};

use super::{
    AppendError, Chain, Stream, Topic, Touched,
    rows::{
        AccountDataRow, DeviceChangeKind, DeviceChangeRow, DeviceRemovalRow, EventRow,
        EventUpdateRow, ForgottenRoomRow, MembershipRow, MissingPrevEventRow, ReceiptRow,
        RedactionRow, RelPos, RoomRow, RoomUpdateRow, StateChangeRow, StateNodeRow,
        TokenRemovalRow,
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
    pub(super) positions: i64,
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
    /// Changes of users' devices; see [`Append::note_device_change`].
    pub device_changes: Vec<DeviceChangeRow>,
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

    /// Notes a change of a device, for whoever has to be told.
    pub fn note_device_change(
        &mut self,
        user_id: &UserId,
        device_id: &DeviceId,
        kind: DeviceChangeKind,
    ) {
        let pos = self.next_pos();
        self.device_changes.push(DeviceChangeRow {
            user_id: user_id.to_string(),
            device_id: device_id.to_string(),
            kind,
            pos,
        });
        self.touched.add(Stream::Devices, user_id);
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
        // In full, so that a new table cannot be forgotten.
        let Self {
            positions: _,
            guards,
            touched,
            rooms,
            room_updates: _,
            events,
            event_updates: _,
            missing_prev_events,
            redactions,
            state_nodes: _,
            state_changes,
            memberships,
            forgotten_rooms,
            account_data,
            receipts,
            device_removals,
            token_removals,
            device_changes,
        } = self;
        let identifiers = events.iter().flat_map(|row| {
            let optional = [&row.state_key, &row.txn_device, &row.txn_id].into_iter().flatten();
            [&row.event_id, &row.sender, &row.kind].into_iter().chain(optional)
        });
        let identifiers = identifiers
            .chain(guards.iter().filter_map(|guard| match guard {
                Guard::Session(token_hash) => Some(token_hash),
                Guard::State(_) | Guard::Head(_) => None,
            }))
            .chain(touched.iter().filter_map(|(_, topic)| match topic {
                Topic::User(user_id) => Some(user_id),
                Topic::Room(_) => None,
            }))
            .chain(rooms.iter().flat_map(|row| [&row.room_id, &row.version]))
            .chain(missing_prev_events.iter().map(|row| &row.prev_event_id))
            .chain(state_changes.iter().flat_map(|row| [&row.kind, &row.state_key]))
            .chain(memberships.iter().flat_map(|row| [&row.user_id, &row.membership, &row.sender]))
            .chain(forgotten_rooms.iter().map(|row| &row.user_id))
            .chain(account_data.iter().flat_map(|row| [&row.user_id, &row.kind]))
            .chain(
                receipts
                    .iter()
                    .flat_map(|row| [&row.kind, &row.user_id, &row.thread, &row.event_id]),
            )
            .chain(device_removals.iter().flat_map(|row| [&row.user_id, &row.device_id]))
            .chain(
                token_removals
                    .iter()
                    .flat_map(|row| std::iter::once(&row.token_hash).chain(row.successor.as_ref())),
            )
            .chain(device_changes.iter().flat_map(|row| [&row.user_id, &row.device_id]));
        for identifier in identifiers {
            if identifier.len() > KEY_LIMIT {
                return refused("an identifier is too long");
            }
            if identifier.contains('\0') {
                return refused("an identifier holds a null");
            }
        }
        let mut texts = (events.iter().map(|row| &row.json))
            .chain(redactions.iter().map(|row| &row.json))
            .chain(account_data.iter().map(|row| &row.content));
        if texts.any(|text| text.contains('\0')) {
            return refused("a text holds a null");
        }
        let mut places = HashSet::new();
        if !device_changes.iter().all(|row| places.insert(row.pos)) {
            return refused("two changes of devices have one position");
        }
        Ok(())
    }

    /// A rough size in bytes, for the limits on a batch.
    pub(crate) fn weight(&self) -> usize {
        // In full, so that a new table cannot be forgotten.
        let Self {
            positions: _,
            guards,
            touched,
            rooms,
            room_updates,
            events,
            event_updates,
            missing_prev_events,
            redactions,
            state_nodes,
            state_changes,
            memberships,
            forgotten_rooms,
            account_data,
            receipts,
            device_removals,
            token_removals,
            device_changes,
        } = self;
        let events: usize = events.iter().map(|row| row.json.len() + 256).sum();
        let redactions: usize = redactions.iter().map(|row| row.json.len() + 64).sum();
        let nodes: usize = state_nodes.iter().map(|row| row.node.len() + 32).sum();
        let data: usize = account_data.iter().map(|row| row.content.len() + 128).sum();
        let extremities: usize =
            room_updates.iter().map(|row| row.added.len() + row.consumed.len()).sum();
        let rest = rooms.len()
            + room_updates.len()
            + event_updates.len()
            + missing_prev_events.len()
            + state_changes.len()
            + memberships.len()
            + forgotten_rooms.len()
            + receipts.len()
            + device_removals.len()
            + token_removals.len()
            + device_changes.len();
        let names = guards.len() + touched.iter().count();
        256 + events + redactions + nodes + data + extremities * 16 + rest * 192 + names * 64
    }
}

fn refused(why: &str) -> Result<(), AppendError> {
    Err(AppendError::Refused(why.to_owned()))
}
