//! One caller's change, as a value.

use std::{collections::HashSet, sync::Arc};

use ruma::{DeviceId, UserId};

use super::{
    AppendError, AuditRow, Chain, Stream, Topic, Touched,
    account_rows::{
        AccountUpdateRow, AllDeviceRemovalsRow, DeviceRemovalRow, InteractiveResultRow,
        NewDeviceRow, NewUserRow, ProfileFieldRow, SessionEndRow, SessionRow, TokenRemovalRow,
        TokenRow,
    },
    rows::{
        AccountDataRow, DeviceChangeKind, DeviceChangeRow, EventRow, EventUpdateRow,
        ForgottenRoomRow, MembershipRow, MissingPrevEventRow, ReceiptRow, RedactionRow, RelPos,
        RoomRow, RoomUpdateRow, StateChangeRow, StateNodeRow,
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
    /// The session with this ID has not ended. Which of its tokens a request carried does not
    /// matter: it may have been refreshed since.
    Session(String),
    /// The access token with this hash is still one of its session.
    Token(String),
    /// The account of the user is in this state.
    Account(String, AccountState),
}

/// What an account must be for an append to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// There is none.
    Absent,
    /// There is one, and it is not closed.
    Open,
    /// It is not closed, and its password is the one with this hash.
    Password(Option<String>),
    /// It has no other devices than these.
    Devices(Vec<String>),
}

impl Guard {
    /// The chain that the guard watches.
    pub(crate) fn chain(&self) -> Option<&Arc<Chain>> {
        match self {
            Self::State(chain) | Self::Head(chain) => Some(chain),
            Self::Session(_) | Self::Token(_) | Self::Account(..) => None,
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
    /// Changes to accounts.
    pub account_updates: Vec<AccountUpdateRow>,
    /// Users who lose their devices.
    pub all_device_removals: Vec<AllDeviceRemovalsRow>,
    /// Devices that go, with their sessions.
    pub device_removals: Vec<DeviceRemovalRow>,
    /// Sessions that end and leave their devices behind.
    pub session_ends: Vec<SessionEndRow>,
    /// Access tokens that make way for their successors.
    pub token_removals: Vec<TokenRemovalRow>,
    /// New accounts.
    pub users: Vec<NewUserRow>,
    /// Fields of profiles that are set.
    pub profile_fields: Vec<ProfileFieldRow>,
    /// Results of interactive authentication.
    pub interactive_results: Vec<InteractiveResultRow>,
    /// New devices.
    pub devices: Vec<NewDeviceRow>,
    /// New sessions.
    pub sessions: Vec<SessionRow>,
    /// New tokens.
    pub tokens: Vec<TokenRow>,
    /// What is to be remembered of who did this.
    pub audit: Vec<AuditRow>,
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

    /// The users whose accounts, devices or sessions the append changes or relies on.
    ///
    /// The database looks at a batch as a whole, and cannot see what its members do to one another.
    /// So the writer puts no two appends about the same account into one batch.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &str> {
        let guarded = self.guards.iter().filter_map(|guard| match guard {
            Guard::Account(user_id, _) => Some(user_id),
            _ => None,
        });
        guarded
            .chain(self.account_updates.iter().map(|row| &row.user_id))
            .chain(self.all_device_removals.iter().map(|row| &row.user_id))
            .chain(self.device_removals.iter().map(|row| &row.user_id))
            .chain(self.session_ends.iter().map(|row| &row.user_id))
            .chain(self.token_removals.iter().map(|row| &row.user_id))
            .chain(self.users.iter().map(|row| &row.user_id))
            .chain(self.devices.iter().map(|row| &row.user_id))
            .chain(self.sessions.iter().map(|row| &row.user_id))
            .chain(self.tokens.iter().map(|row| &row.user_id))
            .chain(self.profile_fields.iter().map(|row| &row.user_id))
            .map(String::as_str)
    }

    /// Refuses what one of the databases cannot hold, before it meets the appends of others.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        // Without a `..`, so that a new table cannot be forgotten.
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
            account_updates,
            all_device_removals,
            device_removals,
            session_ends,
            token_removals,
            users,
            profile_fields,
            interactive_results,
            devices,
            sessions,
            tokens,
            device_changes,
            audit: _,
        } = self;
        let identifiers = events.iter().flat_map(|row| {
            let optional = [&row.state_key, &row.txn_device, &row.txn_id].into_iter().flatten();
            [&row.event_id, &row.sender, &row.kind].into_iter().chain(optional)
        });
        let identifiers = identifiers
            .chain(guards.iter().filter_map(|guard| match guard {
                Guard::Session(id) | Guard::Token(id) | Guard::Account(id, _) => Some(id),
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
            .chain(account_updates.iter().map(|row| &row.user_id))
            .chain(all_device_removals.iter().map(|row| &row.user_id))
            .chain(device_removals.iter().flat_map(|row| [&row.user_id, &row.device_id]))
            .chain(session_ends.iter().flat_map(|row| [&row.user_id, &row.session_id]))
            .chain(
                token_removals
                    .iter()
                    .flat_map(|row| [&row.user_id, &row.token_hash, &row.successor]),
            )
            .chain(users.iter().map(|row| &row.user_id))
            .chain(profile_fields.iter().flat_map(|row| [&row.user_id, &row.field]))
            .chain(interactive_results.iter().map(|row| &row.session_hash))
            .chain(devices.iter().flat_map(|row| [&row.user_id, &row.device_id]))
            .chain(sessions.iter().flat_map(|row| [&row.user_id, &row.session_id]))
            .chain(tokens.iter().flat_map(|row| [&row.user_id, &row.token_hash]))
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
            .chain(account_data.iter().map(|row| &row.content))
            .chain(profile_fields.iter().map(|row| &row.value))
            .chain(interactive_results.iter().map(|row| &row.result))
            .chain(devices.iter().filter_map(|row| row.display_name.as_ref()));
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
        // Without a `..`, so that a new table cannot be forgotten.
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
            account_updates,
            all_device_removals,
            device_removals,
            session_ends,
            token_removals,
            users,
            profile_fields,
            interactive_results,
            devices,
            sessions,
            tokens,
            device_changes,
            audit,
        } = self;
        let events: usize = events.iter().map(|row| row.json.len() + 256).sum();
        let redactions: usize = redactions.iter().map(|row| row.json.len() + 64).sum();
        let nodes: usize = state_nodes.iter().map(|row| row.node.len() + 32).sum();
        let data: usize = account_data.iter().map(|row| row.content.len() + 128).sum();
        let fields: usize = profile_fields.iter().map(|row| row.value.len() + 128).sum();
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
            + account_updates.len()
            + all_device_removals.len()
            + device_removals.len()
            + session_ends.len()
            + token_removals.len()
            + users.len()
            + interactive_results.len()
            + devices.len()
            + sessions.len()
            + tokens.len()
            + device_changes.len()
            // An entry is a good deal longer than the other rows.
            + 3 * audit.len();
        let data = data + fields;
        let names = guards.len() + touched.iter().count();
        256 + events + redactions + nodes + data + extremities * 16 + rest * 192 + names * 64
    }
}

fn refused(why: &str) -> Result<(), AppendError> {
    Err(AppendError::Refused(why.to_owned()))
}
