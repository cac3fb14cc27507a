//! Appends that wait together, made into one: positions moved to their place in the batch, rows
//! that overwrite one another reduced to the last.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use serde::Serialize;

use super::{
    AccountState, Append, AuditRow, Guard, Touched,
    rows::{
        AccountDataRow, DeviceChangeRow, EventRow, EventUpdateRow, ForgottenRoomRow, MembershipRow,
        ReceiptRow, RelPos, RoomUpdateRow, StateChangeRow,
    },
};

/// The rows of a batch, table by table, and what goes with them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// How many positions it takes.
    pub(crate) positions: i64,
    /// Where each member's positions start, relative to the head.
    pub(crate) bases: Vec<i64>,
    pub(crate) touched: Touched,
    pub(crate) room_guards: Vec<RoomGuard>,
    pub(crate) session_guards: Vec<SessionGuard>,
    pub(crate) account_guards: Vec<AccountGuard>,
    /// The tables that it changes.
    pub(crate) tables: Vec<Rows>,
    /// The entries of the audit log, as they are stored.
    pub(crate) audit: Vec<String>,
}

/// What a batch holds for one table.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) table: Table,
    /// The rows as one JSON array.
    pub(crate) json: String,
}

/// A table, or a way of changing one, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Rooms,
    Events,
    RoomUpdates,
    EventUpdates,
    Redactions,
    MissingPrevEvents,
    StateNodes,
    StateChanges,
    Memberships,
    ForgottenRooms,
    AccountData,
    Receipts,
    AccountUpdates,
    AllDeviceRemovals,
    DeviceRemovals,
    SessionEnds,
    TokenRemovals,
    Users,
    ProfileFields,
    InteractiveResults,
    Devices,
    Sessions,
    Tokens,
    DeviceChanges,
}

impl Table {
    /// The name under which `append_batch` takes the rows.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Events => "events",
            Self::RoomUpdates => "room_updates",
            Self::EventUpdates => "event_updates",
            Self::Redactions => "redactions",
            Self::MissingPrevEvents => "missing_prev_events",
            Self::StateNodes => "state_nodes",
            Self::StateChanges => "state_changes",
            Self::Memberships => "memberships",
            Self::ForgottenRooms => "forgotten_rooms",
            Self::AccountData => "account_data",
            Self::Receipts => "receipts",
            Self::AccountUpdates => "account_updates",
            Self::AllDeviceRemovals => "all_device_removals",
            Self::DeviceRemovals => "device_removals",
            Self::SessionEnds => "session_ends",
            Self::TokenRemovals => "token_removals",
            Self::Users => "users",
            Self::ProfileFields => "profile_fields",
            Self::InteractiveResults => "interactive_results",
            Self::Devices => "devices",
            Self::Sessions => "sessions",
            Self::Tokens => "tokens",
            Self::DeviceChanges => "device_changes",
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RoomGuard {
    pub(crate) member: usize,
    pub(crate) room_nid: i64,
    pub(crate) state_pos: i64,
    pub(crate) head_pos: i64,
    /// Whether the extremities must be the same too.
    pub(crate) whole: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct SessionGuard {
    pub(crate) member: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_hash: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AccountGuard {
    pub(crate) member: usize,
    pub(crate) user_id: String,
    pub(crate) expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_hash: Option<String>,
    pub(crate) devices: Vec<String>,
}

impl AccountGuard {
    fn new(member: usize, user_id: &str, state: &AccountState) -> Self {
        let (expected, password_hash, devices) = match state {
            AccountState::Absent => ("absent", None, Vec::new()),
            AccountState::Open => ("open", None, Vec::new()),
            AccountState::Password(hash) => ("password", hash.clone(), Vec::new()),
            AccountState::Devices(devices) => ("devices", None, devices.clone()),
        };
        Self { member, user_id: user_id.to_owned(), expected, password_hash, devices }
    }
}

/// A row that holds a position.
trait Positioned {
    fn shift(&mut self, by: i64);
}

macro_rules! positioned {
    ($($row:ty),*) => {$(
        impl Positioned for $row {
            fn shift(&mut self, by: i64) {
                self.pos.0 += by;
            }
        }
    )*};
}

positioned!(StateChangeRow, MembershipRow, AccountDataRow, ReceiptRow, DeviceChangeRow);

impl Positioned for EventRow {
    fn shift(&mut self, by: i64) {
        shift(&mut self.pos, by);
    }
}

impl Positioned for EventUpdateRow {
    fn shift(&mut self, by: i64) {
        shift(&mut self.pos, by);
    }
}

impl Positioned for RoomUpdateRow {
    fn shift(&mut self, by: i64) {
        shift(&mut self.state_pos, by);
        shift(&mut self.head_pos, by);
    }
}

fn shift(pos: &mut Option<RelPos>, by: i64) {
    if let Some(pos) = pos {
        pos.0 += by;
    }
}

impl Batch {
    /// Joins the members' rows, in order.
    pub(crate) fn join(members: &[&Append]) -> serde_json::Result<Self> {
        let mut batch = Self::default();
        for member in members {
            batch.bases.push(batch.positions);
            batch.positions += member.positions();
            batch.touched.extend(&member.touched);
        }
        batch.join_guards(members);
        let bases = batch.bases.clone();

        batch.add_all(Table::Rooms, members, |append| &append.rooms)?;
        batch.add(Table::Events, &shifted(members, &bases, |append| &append.events))?;
        let updates = shifted(members, &bases, |append| &append.room_updates);
        let updates = merged(updates, |row| row.room_nid, merge_room_update);
        batch.add(Table::RoomUpdates, &updates)?;
        let updates = shifted(members, &bases, |append| &append.event_updates);
        let updates = merged(updates, |row| row.nid, merge_event_update);
        batch.add(Table::EventUpdates, &updates)?;
        let redactions = members.iter().flat_map(|append| &append.redactions);
        batch.add(Table::Redactions, &last_of_each(redactions, |row| row.nid))?;
        batch.add_all(Table::MissingPrevEvents, members, |append| &append.missing_prev_events)?;
        batch.add_all(Table::StateNodes, members, |append| &append.state_nodes)?;
        let changes = shifted(members, &bases, |append| &append.state_changes);
        batch.add(Table::StateChanges, &changes)?;
        let memberships = shifted(members, &bases, |append| &append.memberships);
        let memberships = last_of_each(memberships, |row| (row.user_id.clone(), row.room_nid));
        batch.add(Table::Memberships, &memberships)?;
        batch.add(Table::ForgottenRooms, &still_forgotten(members))?;
        let data = shifted(members, &bases, |append| &append.account_data);
        let data = last_of_each(data, |row| (row.user_id.clone(), row.room_nid, row.kind.clone()));
        batch.add(Table::AccountData, &data)?;
        let receipts = shifted(members, &bases, |append| &append.receipts);
        let receipts = last_of_each(receipts, |row| {
            (row.room_nid, row.kind.clone(), row.user_id.clone(), row.thread.clone())
        });
        batch.add(Table::Receipts, &receipts)?;
        batch.add_all(Table::AccountUpdates, members, |append| &append.account_updates)?;
        batch.add_all(Table::AllDeviceRemovals, members, |append| &append.all_device_removals)?;
        batch.add_all(Table::DeviceRemovals, members, |append| &append.device_removals)?;
        batch.add_all(Table::SessionEnds, members, |append| &append.session_ends)?;
        batch.add_all(Table::TokenRemovals, members, |append| &append.token_removals)?;
        batch.add_all(Table::Users, members, |append| &append.users)?;
        batch.add_all(Table::ProfileFields, members, |append| &append.profile_fields)?;
        batch.add_all(Table::InteractiveResults, members, |append| &append.interactive_results)?;
        batch.add_all(Table::Devices, members, |append| &append.devices)?;
        batch.add_all(Table::Sessions, members, |append| &append.sessions)?;
        batch.add_all(Table::Tokens, members, |append| &append.tokens)?;
        let entries = members.iter().flat_map(|append| &append.audit).map(AuditRow::to_entry);
        batch.audit = entries.collect::<Result<_, _>>()?;
        // Each change stays a row of its own: others are told of each, and which came before it.
        let changes = shifted(members, &bases, |append| &append.device_changes);
        batch.add(Table::DeviceChanges, &changes)?;
        Ok(batch)
    }

    /// The rows for `table`, as JSON.
    pub(crate) fn rows(&self, table: Table) -> &str {
        self.tables.iter().find(|rows| rows.table == table).map_or("[]", |rows| &rows.json)
    }

    fn join_guards(&mut self, members: &[&Append]) {
        // What a chain has committed is the same for all its members, and the first that fails
        // takes the later ones with it.
        let mut watched = HashSet::new();
        for (member, append) in members.iter().enumerate() {
            for guard in &append.guards {
                let (chain, whole) = match guard {
                    Guard::State(chain) => (chain, false),
                    Guard::Head(chain) => (chain, true),
                    Guard::Session(session_id) => {
                        let session_id = Some(session_id.clone());
                        let guard = SessionGuard { member, session_id, token_hash: None };
                        self.session_guards.push(guard);
                        continue;
                    }
                    Guard::Token(token_hash) => {
                        let token_hash = Some(token_hash.clone());
                        let guard = SessionGuard { member, session_id: None, token_hash };
                        self.session_guards.push(guard);
                        continue;
                    }
                    Guard::Account(user_id, state) => {
                        self.account_guards.push(AccountGuard::new(member, user_id, state));
                        continue;
                    }
                };
                if watched.insert((Arc::as_ptr(chain), whole)) {
                    self.room_guards.push(RoomGuard {
                        member,
                        room_nid: chain.room().0,
                        state_pos: chain.state_pos().0,
                        head_pos: chain.head_pos().0,
                        whole,
                    });
                }
            }
        }
    }

    fn add<T: Serialize>(&mut self, table: Table, rows: &[T]) -> serde_json::Result<()> {
        if !rows.is_empty() {
            let json = serde_json::to_string(rows)?;
            self.tables.push(Rows { table, json });
        }
        Ok(())
    }

    fn add_all<'a, T: Serialize + 'a>(
        &mut self,
        table: Table,
        members: &[&'a Append],
        rows: impl Fn(&'a Append) -> &'a [T],
    ) -> serde_json::Result<()> {
        let rows: Vec<&T> = members.iter().flat_map(|append| rows(append)).collect();
        self.add(table, &rows)
    }
}

fn shifted<'a, T: Positioned + Clone + 'a>(
    members: &[&'a Append],
    bases: &[i64],
    rows: impl Fn(&'a Append) -> &'a [T],
) -> Vec<T> {
    let mut shifted = Vec::new();
    for (append, base) in members.iter().zip(bases) {
        for row in rows(append) {
            let mut row = row.clone();
            row.shift(*base);
            shifted.push(row);
        }
    }
    shifted
}

/// The rows without those that a later one with the same key overwrites.
fn last_of_each<T, K: Hash + Eq>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    merged(rows, key, |earlier, later| *earlier = later)
}

/// The rows, those with the same key merged into the first of them.
fn merged<T, K: Hash + Eq>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
    merge: impl Fn(&mut T, T),
) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for row in rows {
        let place = *places.entry(key(&row)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => merge(earlier, row),
            None => kept.push(row),
        }
    }
    kept
}

/// The rooms that are forgotten and not entered again by a later member. Memberships are written
/// first, and a new one is not forgotten.
fn still_forgotten<'a>(members: &[&'a Append]) -> Vec<&'a ForgottenRoomRow> {
    let mut forgotten = Vec::new();
    for append in members {
        for entered in &append.memberships {
            forgotten.retain(|row: &&ForgottenRoomRow| {
                (&row.user_id, row.room_nid) != (&entered.user_id, entered.room_nid)
            });
        }
        forgotten.extend(&append.forgotten_rooms);
    }
    forgotten
}

fn merge_room_update(earlier: &mut RoomUpdateRow, mut later: RoomUpdateRow) {
    earlier.added.retain(|event| !later.consumed.contains(event));
    earlier.added.append(&mut later.added);
    earlier.consumed.append(&mut later.consumed);
    earlier.state_root = later.state_root.or(earlier.state_root);
    earlier.state_pos = later.state_pos.or(earlier.state_pos);
    earlier.head_pos = later.head_pos.or(earlier.head_pos);
    earlier.joined += later.joined;
    earlier.invited += later.invited;
}

fn merge_event_update(earlier: &mut EventUpdateRow, later: EventUpdateRow) {
    let EventUpdateRow {
        nid: _,
        pos,
        ord_pos,
        ord_depth,
        ord_seq,
        status,
        state_before,
        state_after,
        partial,
    } = later;
    earlier.pos = pos.or(earlier.pos);
    earlier.ord_pos = ord_pos.or(earlier.ord_pos);
    earlier.ord_depth = ord_depth.or(earlier.ord_depth);
    earlier.ord_seq = ord_seq.or(earlier.ord_seq);
    earlier.status = status.or(earlier.status);
    earlier.state_before = state_before.or(earlier.state_before);
    earlier.state_after = state_after.or(earlier.state_after);
    earlier.partial = partial.or(earlier.partial);
}
