//! The stream of changes to users' devices. Each change stays a row of its own, because others are
//! told of each one and of the one before it.

use std::collections::HashSet;

use ruma::{DeviceId, UserId};
use serde::Serialize;

use super::{Append, Fit, RelPos, TableRow, check};
use crate::log::{Stream, stored::stored_as_number};

stored_as_number! {
    /// What happened to a device.
    DeviceChangeKind {
        /// The user logged in on it. If the client gave the device ID, the device may have existed
        /// before.
        Created = 0,
        /// It was renamed.
        Renamed = 1,
        /// It was removed.
        Removed = 2,
    }
}

/// A change to one of a user's devices, for everybody who has to be told. The change itself is in
/// other rows of the append, such as [`DeviceRemovalRow`](super::DeviceRemovalRow).
///
/// See [`Append::note_device_change`].
#[derive(Clone, Debug, Serialize)]
pub struct DeviceChangeRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The device ID.
    pub device_id: String,
    /// What happened to it.
    pub kind: DeviceChangeKind,
    /// The position of the change, unique among the append's device changes.
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
    /// Notes a change to a device, for everybody who has to be told.
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
