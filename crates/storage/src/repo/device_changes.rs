//! Which devices of which users were created, renamed or removed, and when. The changes are written
//! through the log, one row each, no matter how many rooms and servers have to be told.
//!
//! The newest 100 changes of each user are kept; the append that adds one deletes older ones. So a
//! user's newest change always exists, and for any position it is known whether their devices have
//! changed since. A reader that is further behind finds a change whose [`DeviceChange::prev`] it
//! has not seen, and reads all of the user's current devices.

use ruma::{OwnedDeviceId, OwnedUserId};
use stoa_base::Pos;

use super::users::user_id_at;
use crate::{Bind, Conn, FromRow, Result, Row, log::DeviceChangeKind};

/// A change to one of a user's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceChange {
    /// The position of the change, which no other change has.
    pub pos: Pos,
    /// The user's Matrix ID.
    pub user_id: OwnedUserId,
    /// The device ID.
    pub device_id: OwnedDeviceId,
    /// What happened; `None` if only a newer version knows the kind.
    pub kind: Option<DeviceChangeKind>,
    /// The same user's previous change, whether or not it still exists; `None` for their first.
    pub prev: Option<Pos>,
}

impl FromRow for DeviceChange {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            pos: Pos(row.get(0)?),
            user_id: user_id_at(row, 1)?,
            device_id: row.get::<String>(2)?.into(),
            kind: DeviceChangeKind::from_number(row.get(3)?),
            prev: row.get::<Option<i64>>(4)?.map(Pos),
        })
    }
}

/// The changes of these users' devices after `after` and up to `up_to`, in order, at most `limit`.
/// To read on, pass the position of the last one as `after`.
pub async fn changed<'a>(
    conn: &mut Conn,
    users: impl IntoIterator<Item = &'a str>,
    after: Pos,
    up_to: Pos,
    limit: i64,
) -> Result<Vec<DeviceChange>> {
    conn.all(
        "SELECT pos, user_id, device_id, kind, prev_pos FROM device_changes
         WHERE user_id IN (SELECT value FROM json_each($1)) AND pos > $2 AND pos <= $3
         ORDER BY pos LIMIT $4",
        &[Bind::list(users), after.0.into(), up_to.0.into(), limit.into()],
    )
    .await
}

/// The newest device change of each of these users, in no order. Users without any are left out.
pub async fn latest<'a>(
    conn: &mut Conn,
    users: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<DeviceChange>> {
    conn.all(
        "SELECT pos, user_id, device_id, kind, prev_pos FROM device_changes WHERE pos IN (
             SELECT (SELECT MAX(pos) FROM device_changes WHERE user_id = wanted.value)
             FROM json_each($1) AS wanted)",
        &[Bind::list(users)],
    )
    .await
}
