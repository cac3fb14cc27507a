//! The tables of the log: what an append may hold.
//!
//! Each table has a file here with the type of its rows, how those of several appends become the
//! rows of one batch, what is checked, and how SQLite writes them. On PostgreSQL they are written
//! by the function `append_<table>`, which `append_tables` calls. If a table can be changed in
//! several ways (insert, update, delete), each way counts as a table.
//!
//! A new table takes such a file, a migration, and a line in the list below; see CONTRIBUTING.md.

mod account_data;
mod account_updates;
mod all_device_removals;
mod check;
mod device_changes;
mod device_removals;
mod devices;
mod event_updates;
mod events;
mod forgotten_rooms;
mod interactive_results;
mod memberships;
mod merge;
mod missing_prev_events;
mod profile_fields;
mod receipts;
mod redactions;
mod room_updates;
mod rooms;
mod session_ends;
mod sessions;
mod state_changes;
mod state_nodes;
#[cfg(test)]
mod tests;
mod token_removals;
mod tokens;
mod users;

use serde::Serialize;

pub(super) use self::check::{Fit, identifiers};
use super::{AuditRow, Guard, Touched, claim::Claim, rel_pos::RelPos, rows::Rows};

/// Declares the tables, each with the type of its rows. A table has the same name as its file, as
/// the field of [`Append`], and as the key in the document for `append_batch`.
macro_rules! tables {
    ($($table:ident: $row:ident,)*) => {
        $(pub use self::$table::*;)*

        /// Changes that are written together or not at all. Several parts of the program can fill
        /// one append.
        #[derive(Clone, Debug, Default)]
        pub struct Append {
            pub(super) positions: i64,
            /// The facts that must still be true.
            pub guards: Vec<Guard>,
            /// The changes that readers must be told about.
            pub touched: Touched,
            /// The audit entries.
            pub audit: Vec<AuditRow>,
            $(
                #[doc = concat!("See [`", stringify!($row), "`].")]
                pub $table: Vec<$row>,
            )*
        }

        $(
            impl InAppend for $row {
                const TABLE: &'static str = stringify!($table);

                fn rows_of(append: &Append) -> &[Self] {
                    &append.$table
                }
            }
        )*

        /// The tables in the order in which a batch writes them.
        pub(super) const TABLES: &[Table] = &[$(Table::of::<$row>(),)*];
    };
}

// Rooms and events that already exist cause the batch to be refused, so they come first. Removals
// come before inserts.
tables! {
    rooms: RoomRow,
    events: EventRow,
    room_updates: RoomUpdateRow,
    event_updates: EventUpdateRow,
    redactions: RedactionRow,
    missing_prev_events: MissingPrevEventRow,
    state_nodes: StateNodeRow,
    state_changes: StateChangeRow,
    memberships: MembershipRow,
    forgotten_rooms: ForgottenRoomRow,
    account_data: AccountDataRow,
    receipts: ReceiptRow,
    account_updates: AccountUpdateRow,
    all_device_removals: AllDeviceRemovalsRow,
    device_removals: DeviceRemovalRow,
    session_ends: SessionEndRow,
    token_removals: TokenRemovalRow,
    users: NewUserRow,
    profile_fields: ProfileFieldRow,
    interactive_results: InteractiveResultRow,
    devices: NewDeviceRow,
    sessions: SessionRow,
    tokens: TokenRow,
    device_changes: DeviceChangeRow,
}

/// An append and where it is in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) append: &'a Append,
    /// The offset of its positions, relative to the head.
    pub(super) base: i64,
}

/// Connects a row type to the field of [`Append`] that holds its rows.
trait InAppend: Sized {
    /// The table's name.
    const TABLE: &'static str;

    /// The rows of the table in an append.
    fn rows_of(append: &Append) -> &[Self];
}

/// The rows of a table.
///
/// A position in a row is relative: 1 is the first position of its append. The writer shifts it to
/// its place in the batch, and the database to its place in the log.
trait TableRow: InAppend + Clone + Serialize + 'static {
    /// The statements by which SQLite writes rows: `$1` is the JSON array, `$2` the head of the log
    /// before the batch.
    const SQLITE: &'static [&'static str];

    /// For rows that must be new: the statement that finds those among `$1` that already exist. It
    /// returns their `nid` and why they conflict.
    const TAKEN: Option<&'static str> = None;

    /// Refuses what one of the databases cannot store.
    fn check(&self) -> Fit;

    /// Refuses rows that cannot be in the same append.
    fn check_together(_rows: &[Self]) -> Fit {
        Ok(())
    }

    /// The row's rough size in bytes.
    fn weight(&self) -> usize {
        192
    }

    /// Adds what no other append in the same batch may concern.
    fn claims<'a>(&'a self, _claims: &mut Vec<Claim<'a>>) {}

    /// Shifts the row's positions.
    fn shift(&mut self, _by: i64) {}

    /// Merges the rows that would change the same database row.
    fn merge(rows: Vec<Self>) -> Vec<Self> {
        rows
    }

    /// The rows of a batch of these appends.
    fn of_batch(appends: &[Placed<'_>]) -> Vec<Self> {
        let mut rows = Vec::new();
        for Placed { append, base } in appends {
            let first = rows.len();
            rows.extend_from_slice(Self::rows_of(append));
            rows.iter_mut().skip(first).for_each(|row| row.shift(*base));
        }
        Self::merge(rows)
    }
}

/// The functions that the writer calls for the rows of a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) check: fn(&Append) -> Fit,
    pub(super) weight: fn(&Append) -> usize,
    pub(super) claims: for<'a> fn(&'a Append, &mut Vec<Claim<'a>>),
    pub(super) join: fn(&[Placed<'_>]) -> serde_json::Result<Option<Rows>>,
}

impl Table {
    const fn of<R: TableRow>() -> Self {
        Self { check: check::<R>, weight: weight::<R>, claims: claims::<R>, join: join::<R> }
    }
}

fn check<R: TableRow>(append: &Append) -> Fit {
    let rows = R::rows_of(append);
    rows.iter().try_for_each(R::check)?;
    R::check_together(rows)
}

fn weight<R: TableRow>(append: &Append) -> usize {
    R::rows_of(append).iter().map(R::weight).sum()
}

fn claims<'a, R: TableRow>(append: &'a Append, claims: &mut Vec<Claim<'a>>) {
    for row in R::rows_of(append) {
        row.claims(claims);
    }
}

fn join<R: TableRow>(appends: &[Placed<'_>]) -> serde_json::Result<Option<Rows>> {
    let rows = R::of_batch(appends);
    if rows.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(&rows)?;
    Ok(Some(Rows { name: R::TABLE, sqlite: R::SQLITE, taken: R::TAKEN, json }))
}
