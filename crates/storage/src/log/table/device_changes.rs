//! The stream of changes of users' devices. Each change stays a row of its own: others are told of
//! each, and which came before it.

use std::collections::HashSet;

use ruma::{DeviceId, UserId};
use serde::Serialize;

use super::{Append, Fit, RelPos, TableRow, check};
use crate::log::{Stream, stored::stored_as_number};

stored_as_number! {
    /// What happened to a device.
    DeviceChangeKind {
        /// Its user logged in with it. Where the client named it, it may have been there before.
        Created = 0,
        /// It is called something else.
        Renamed = 1,
        /// It was removed.
        Removed = 2,
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
