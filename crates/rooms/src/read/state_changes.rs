//! The changes of rooms' current states. Requests that wait for news of a room read no table when
//! somebody joins it.

use std::{collections::HashMap, sync::Arc};

use ruma::UserId;
use stoa_base::{Allowance, Exceeded, Pos, RoomNid};
use stoa_storage::{
    Store,
    repo::{self, state::StateChange},
};

use crate::{
    cache::{
        recent::RecentRow,
        recent_changes::{MIN_WEIGHT, RecentChanges},
        room::Room,
    },
    error::{Result, RoomError},
};

/// The changes of the current state of all rooms.
#[derive(Clone, Debug)]
pub struct StateChanges {
    pub(crate) store: Store,
    pub(crate) recent: Arc<RecentChanges>,
}

impl StateChanges {
    /// The changes of a room's current state after `since` and up to `up_to`, in order. Fails if
    /// they take more memory than is allowed.
    pub async fn unchecked_of_room(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
        allowance: &Allowance,
    ) -> Result<Vec<StateChange>> {
        let look = || self.in_memory(room, since, up_to, allowance);
        let read = async {
            let found = self.read([room.nid], since, up_to, allowance).await?;
            let changes: Vec<StateChange> = found.into_iter().map(|(_, change)| change).collect();
            self.recent.0.lock().fill(room.nid, changes.clone(), since, up_to);
            Ok::<_, RoomError>(changes)
        };
        self.recent.0.reading.look_or_read(room.nid, look, read).await
    }

    /// Like [`StateChanges::unchecked_of_room`], for several rooms. Fails if their changes together
    /// take more memory than is allowed. A room without changes may be absent.
    pub async fn unchecked_of_rooms(
        &self,
        rooms: &[&Room],
        since: Pos,
        up_to: Pos,
        allowance: &Allowance,
    ) -> Result<HashMap<RoomNid, Vec<StateChange>>> {
        let mut changes: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
        let mut missing = Vec::new();
        for room in rooms {
            match self.in_memory(room, since, up_to, allowance) {
                Some(found) => {
                    changes.insert(room.nid, found?);
                }
                None => missing.push(*room),
            }
        }
        if let [room] = missing[..] {
            changes.insert(room.nid, self.unchecked_of_room(room, since, up_to, allowance).await?);
        } else if !missing.is_empty() {
            let missing = missing.iter().map(|room| room.nid);
            for (room, change) in self.read(missing, since, up_to, allowance).await? {
                changes.entry(room).or_default().push(change);
            }
        }
        Ok(changes)
    }

    /// The changes of a user's membership in each of these rooms after `after`, in order. Changes
    /// after `up_to` may be missing.
    pub async fn of_membership(
        &self,
        user_id: &UserId,
        rooms: impl IntoIterator<Item = RoomNid>,
        after: Pos,
        up_to: Pos,
    ) -> Result<HashMap<RoomNid, Vec<StateChange>>> {
        const MEMBER: &str = "m.room.member";
        let mut changes: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
        let mut missing = Vec::new();
        for room in rooms {
            let Some(recent) = self.recent.between(room, after, up_to) else {
                missing.push(room);
                continue;
            };
            let of_user = recent
                .into_iter()
                .filter(|change| change.kind == MEMBER && change.state_key == user_id.as_str());
            changes.insert(room, of_user.collect());
        }
        changes.retain(|_, changes| !changes.is_empty());
        if missing.is_empty() {
            return Ok(changes);
        }
        let mut conn = self.store.read().await?;
        let rows = repo::state::changes_of_entry_in_rooms(
            &mut conn,
            missing,
            MEMBER,
            user_id.as_str(),
            after,
        )
        .await?;
        for (room, change) in rows {
            changes.entry(room).or_default().push(change);
        }
        Ok(changes)
    }

    /// The changes of a room, or none if not all of them are in memory.
    fn in_memory(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
        allowance: &Allowance,
    ) -> Option<Result<Vec<StateChange>>> {
        let changes = self.recent.between(room.nid, since, up_to)?;
        Some(take_changes(allowance, &changes).map(|()| changes).map_err(Into::into))
    }

    /// Reads the changes of these rooms from the database, each with its room.
    async fn read(
        &self,
        rooms: impl IntoIterator<Item = RoomNid>,
        since: Pos,
        up_to: Pos,
        allowance: &Allowance,
    ) -> Result<Vec<(RoomNid, StateChange)>> {
        let limit = allowance.rows(MIN_WEIGHT as u64);
        let mut conn = self.store.read().await?;
        let found = repo::state::changes_in_rooms(&mut conn, rooms, since, up_to, limit).await?;
        take_changes(allowance, found.iter().map(|(_, change)| change))?;
        Ok(found)
    }
}

/// Charges for the memory of these changes.
fn take_changes<'a>(
    allowance: &Allowance,
    changes: impl IntoIterator<Item = &'a StateChange>,
) -> Result<(), Exceeded> {
    allowance.take(changes.into_iter().map(|change| change.weight() as u64).sum())
}
