//! The stream of changes of users' devices. Each change stays a row of its own: others are told of
//! each, and which came before it.

use std::collections::HashSet;

use ruma::{DeviceId, UserId};
use serde::Serialize;

use super::{Append, Fit, RelPos, TableRow, check};
use crate::log::Stream;

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChangeKind {
    /// Its user logged in with it. Where the client named it, it may have been there before.
    Created,
    /// It is called something else.
    Renamed,
    /// It was removed.
    Removed,
}

impl DeviceChangeKind {
    /// The number that stands in the database.
    pub const fn to_number(self) -> i64 {
        match self {
            Self::Created => 0,
            Self::Renamed => 1,
            Self::Removed => 2,
        }
    }

    /// Reads the number that stands in the database.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Created),
            1 => Some(Self::Renamed),
            2 => Some(Self::Removed),
            _ => None,
        }
    }
}

impl Serialize for DeviceChangeKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.to_number())
    }
}

/// A change of one of a user's devices, for whoever has to be told. What the change is made of
/// stands in rows of its own, such as [`DeviceRemovalRow`](super::DeviceRemovalRow).
///
/// See [`Append::note_device_change`].
#[derive(Clone, Debug, Serialize)]
pub struct DeviceChangeRow {
    /// The user.
    pub user_id: String,
    /// The device.
    pub device_id: String,
    /// What happened to it.
    pub kind: DeviceChangeKind,
    /// When: a position that this append's other device changes do not have.
    pub pos: RelPos,
}

impl TableRow for DeviceChangeRow {
    const SQLITE: &'static [&'static str] = &[
        "
INSERT INTO device_changes (pos, user_id, device_id, kind, prev_pos)
SELECT $2 + (value->>'pos'), value->>'user_id', value->>'device_id', value->>'kind', coalesce(
    $2 + lag(value->>'pos') OVER (PARTITION BY value->>'user_id' ORDER BY value->>'pos'),
    (SELECT max(pos) FROM device_changes WHERE user_id = value->>'user_id'))
FROM json_each($1)",
        "
DELETE FROM device_changes WHERE pos IN (
    SELECT pos FROM (
        SELECT pos, row_number() OVER (PARTITION BY user_id ORDER BY pos DESC) AS age
        FROM device_changes
        WHERE user_id IN (SELECT value->>'user_id' FROM json_each($1)))
    WHERE age > 100)",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.device_id])
    }

    fn check_together(rows: &[Self]) -> Fit {
        let mut places = HashSet::new();
        if rows.iter().all(|row| places.insert(row.pos)) {
            return Ok(());
        }
        Err(check::refused("two changes of devices have one position"))
    }

    fn shift(&mut self, by: i64) {
        self.pos.0 += by;
    }
}

impl Append {
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
}
