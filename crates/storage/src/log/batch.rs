//! Appends that wait together, made into one: positions moved to their place in the batch, rows
//! that overwrite one another reduced to the last.

use std::{collections::HashMap, hash::Hash};

use serde::Serialize;

use super::{
    Append, Guard, Touched,
    rows::{
        AccountDataRow, EventRow, EventUpdateRow, MembershipRow, ReceiptRow, RelPos, RoomUpdateRow,
        StateChangeRow,
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
    /// Each table's name with its rows as one JSON array; tables without rows are left out.
    pub(crate) tables: Vec<(Table, String)>,
    /// How many events there are, which all must be new.
    pub(crate) events: u64,
}

/// A table, or a way of changing one, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Events,
    Rooms,
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
    DeviceRemovals,
    TokenRemovals,
}

impl Table {
    /// The name under which `append_batch` takes the rows.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Rooms => "rooms",
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
            Self::DeviceRemovals => "device_removals",
            Self::TokenRemovals => "token_removals",
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RoomGuard {
    pub(crate) member: usize,
    pub(crate) room_nid: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_pos: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) head_pos: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SessionGuard {
    pub(crate) member: usize,
    pub(crate) token_hash: String,
}

#[derive(Serialize)]
struct EventOfMember {
    member: usize,
    #[serde(flatten)]
    row: EventRow,
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

positioned!(StateChangeRow, MembershipRow, AccountDataRow, ReceiptRow);

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
        let each = || members.iter().zip(&bases);

        let mut events = Vec::new();
        for (member, (append, base)) in each().enumerate() {
            for row in &append.events {
                let mut row = row.clone();
                shift(&mut row.pos, *base);
                events.push(EventOfMember { member, row });
            }
        }
        batch.events = events.len() as u64;
        batch.add(Table::Events, &events)?;
        batch.add_all(Table::Rooms, members, |append| &append.rooms)?;

        let mut updates: Vec<RoomUpdateRow> = Vec::new();
        for (append, base) in each() {
            for update in &append.room_updates {
                merge_room_update(&mut updates, update.clone(), *base);
            }
        }
        batch.add(Table::RoomUpdates, &updates)?;

        let mut event_updates: Vec<EventUpdateRow> = Vec::new();
        for (append, base) in each() {
            for update in &append.event_updates {
                let mut update = update.clone();
                shift(&mut update.pos, *base);
                merge_event_update(&mut event_updates, update);
            }
        }
        batch.add(Table::EventUpdates, &event_updates)?;

        let redactions = members.iter().flat_map(|append| append.redactions.iter().cloned());
        batch.add(Table::Redactions, &last_of_each(redactions, |row| row.nid))?;
        batch.add_all(Table::MissingPrevEvents, members, |append| &append.missing_prev_events)?;
        batch.add_all(Table::StateNodes, members, |append| &append.state_nodes)?;

        let changes = shifted(members, &bases, |append| &append.state_changes);
        batch.add(Table::StateChanges, &changes)?;
        let memberships = shifted(members, &bases, |append| &append.memberships);
        let memberships = last_of_each(memberships, |row| (row.user_id.clone(), row.room_nid));
        batch.add(Table::Memberships, &memberships)?;
        batch.add_all(Table::ForgottenRooms, members, |append| &append.forgotten_rooms)?;
        let data = shifted(members, &bases, |append| &append.account_data);
        let data = last_of_each(data, |row| (row.user_id.clone(), row.room_nid, row.kind.clone()));
        batch.add(Table::AccountData, &data)?;
        let receipts = shifted(members, &bases, |append| &append.receipts);
        let receipts = last_of_each(receipts, |row| {
            (row.room_nid, row.kind.clone(), row.user_id.clone(), row.thread.clone())
        });
        batch.add(Table::Receipts, &receipts)?;
        batch.add_all(Table::DeviceRemovals, members, |append| &append.device_removals)?;
        batch.add_all(Table::TokenRemovals, members, |append| &append.token_removals)?;
        Ok(batch)
    }

    fn join_guards(&mut self, members: &[&Append]) {
        for (member, append) in members.iter().enumerate() {
            for guard in &append.guards {
                match guard {
                    Guard::State(chain) => self.room_guards.push(RoomGuard {
                        member,
                        room_nid: chain.room().0,
                        state_pos: Some(chain.state_pos().0),
                        head_pos: None,
                    }),
                    Guard::Head(chain) => self.room_guards.push(RoomGuard {
                        member,
                        room_nid: chain.room().0,
                        state_pos: Some(chain.state_pos().0),
                        head_pos: Some(chain.head_pos().0),
                    }),
                    Guard::Session(token_hash) => self
                        .session_guards
                        .push(SessionGuard { member, token_hash: token_hash.clone() }),
                }
            }
        }
    }

    fn add<T: Serialize>(&mut self, table: Table, rows: &[T]) -> serde_json::Result<()> {
        if !rows.is_empty() {
            self.tables.push((table, serde_json::to_string(rows)?));
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
    let mut kept: Vec<T> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for row in rows {
        let place = *places.entry(key(&row)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => *earlier = row,
            None => kept.push(row),
        }
    }
    kept
}

fn merge_room_update(merged: &mut Vec<RoomUpdateRow>, mut update: RoomUpdateRow, base: i64) {
    shift(&mut update.state_pos, base);
    shift(&mut update.head_pos, base);
    let Some(earlier) = merged.iter_mut().find(|row| row.room_nid == update.room_nid) else {
        merged.push(update);
        return;
    };
    earlier.added.retain(|event| !update.consumed.contains(event));
    earlier.added.append(&mut update.added);
    earlier.consumed.append(&mut update.consumed);
    earlier.state_root = update.state_root.or(earlier.state_root);
    earlier.state_pos = update.state_pos.or(earlier.state_pos);
    earlier.head_pos = update.head_pos.or(earlier.head_pos);
    earlier.joined += update.joined;
    earlier.invited += update.invited;
}

fn merge_event_update(merged: &mut Vec<EventUpdateRow>, update: EventUpdateRow) {
    let Some(earlier) = merged.iter_mut().find(|row| row.nid == update.nid) else {
        merged.push(update);
        return;
    };
    earlier.pos = update.pos.or(earlier.pos);
    earlier.ord_pos = update.ord_pos.or(earlier.ord_pos);
    earlier.ord_depth = update.ord_depth.or(earlier.ord_depth);
    earlier.ord_seq = update.ord_seq.or(earlier.ord_seq);
    earlier.status = update.status.or(earlier.status);
    earlier.state_before = update.state_before.or(earlier.state_before);
    earlier.state_after = update.state_after.or(earlier.state_after);
    earlier.partial = update.partial.or(earlier.partial);
}

#[cfg(test)]
mod tests {
    use stoa_base::{EventNid, RoomNid, StateNid};

    use super::*;

    fn update(added: i64, consumed: i64, head: i64) -> RoomUpdateRow {
        RoomUpdateRow {
            room_nid: RoomNid(7),
            added: vec![EventNid(added)],
            consumed: vec![EventNid(consumed)],
            state_root: (added == 2).then_some(StateNid(70)),
            state_pos: None,
            head_pos: Some(RelPos(head)),
            joined: 1,
            invited: -1,
        }
    }

    #[test]
    fn updates_of_one_room_become_one() {
        let mut merged = Vec::new();
        merge_room_update(&mut merged, update(1, 0, 1), 0);
        merge_room_update(&mut merged, update(2, 1, 1), 1);
        merge_room_update(&mut merged, update(3, 2, 1), 2);
        let [row] = merged.as_slice() else { panic!("one row") };
        assert_eq!(row.added, [EventNid(3)]);
        assert_eq!(row.consumed, [EventNid(0), EventNid(1), EventNid(2)]);
        assert_eq!(row.state_root, Some(StateNid(70)));
        assert_eq!(row.head_pos, Some(RelPos(3)));
        assert_eq!((row.joined, row.invited), (3, -3));
    }

    #[test]
    fn the_last_row_of_a_key_stays() {
        let rows = last_of_each([(1, 'a'), (2, 'b'), (1, 'c')], |row| row.0);
        assert_eq!(rows, [(1, 'c'), (2, 'b')]);
    }

    #[test]
    fn members_get_consecutive_positions_and_an_empty_one_takes_one() {
        let mut first = Append::new();
        first.next_pos();
        first.next_pos();
        let second = Append::new();
        let third = Append::new();
        let batch = Batch::join(&[&first, &second, &third]).unwrap();
        assert_eq!(batch.bases, [0, 2, 3]);
        assert_eq!(batch.positions, 4);
    }
}
