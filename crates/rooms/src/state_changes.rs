//! How the current state of rooms changed, with the newest changes in memory: whoever waits for
//! news of a room reads no table when somebody joins it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stoa_base::{Allowance, Exceeded, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, SingleFlight};
use stoa_storage::{
    log::{Stream, Topic},
    repo::{self, state::StateChange},
};

use crate::{
    Result, Rooms,
    recent::{Recent, RecentRow},
    room::Room,
};

/// How many bytes of changes stay in memory, roughly.
const BYTES: usize = 4 << 20;

/// How many bytes a change takes, roughly, beside its texts.
const MIN_WEIGHT: usize = 128;

impl Rooms {
    /// The changes of a room's current state after `since` and up to `up_to`, in order, as long as
    /// they do not take more than is allowed.
    pub async fn state_changes(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
        allowance: &Allowance,
    ) -> Result<Vec<StateChange>> {
        let in_memory = || self.recent_changes.between(room.nid, since, up_to);
        if let Some(changes) = in_memory() {
            take_changes(allowance, &changes)?;
            return Ok(changes);
        }
        // Whoever comes first reads for all.
        let (_mine, others) = self.recent_changes.reading.claim([room.nid]);
        for other in others {
            other.landed().await;
            if let Some(changes) = in_memory() {
                take_changes(allowance, &changes)?;
                return Ok(changes);
            }
        }
        let found = self.read_changes([room.nid], since, up_to, allowance).await?;
        let changes: Vec<StateChange> = found.into_iter().map(|(_, change)| change).collect();
        self.recent_changes.lock().fill(room.nid, changes.clone(), since, up_to);
        Ok(changes)
    }

    /// Reads the changes of these rooms from the database, each with its room.
    pub(crate) async fn read_changes(
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

/// Takes the memory of these changes.
pub(crate) fn take_changes<'a>(
    allowance: &Allowance,
    changes: impl IntoIterator<Item = &'a StateChange>,
) -> Result<(), Exceeded> {
    allowance.take(changes.into_iter().map(|change| change.weight() as u64).sum())
}

/// The newest changes of rooms.
#[derive(Debug)]
pub(crate) struct RecentChanges {
    recent: Mutex<Recent<StateChange>>,
    reading: SingleFlight<RoomNid>,
}

impl RecentRow for StateChange {
    fn pos(&self) -> Pos {
        self.pos
    }

    fn weight(&self) -> usize {
        MIN_WEIGHT + self.kind.len() + self.state_key.len()
    }
}

impl Default for RecentChanges {
    fn default() -> Self {
        Self { recent: Mutex::new(Recent::new(BYTES)), reading: SingleFlight::default() }
    }
}

impl RecentChanges {
    fn lock(&self) -> MutexGuard<'_, Recent<StateChange>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// All changes of a room after `since` and up to `up_to`, where they are all in memory.
    pub(crate) fn between(
        &self,
        room: RoomNid,
        since: Pos,
        up_to: Pos,
    ) -> Option<Vec<StateChange>> {
        Some(self.lock().newest(room, since, up_to, usize::MAX)?.rows)
    }
}

impl CacheKeeper for RecentChanges {
    fn apply(&self, batch: Batch<'_>) {
        let mut recent = self.lock();
        recent.apply(batch.last);
        if let Some(rows) = batch.rows {
            for (room, change) in rows.state_changes {
                recent.push(*room, change.clone());
            }
            return;
        }
        let Some(appends) = batch.appends else {
            for (stream, topic) in batch.touched.iter() {
                if let (Stream::State, Topic::Room(room)) = (stream, topic) {
                    recent.lose(RoomNid(*room), batch.last);
                }
            }
            return;
        };
        for (base, append) in appends {
            for row in &append.state_changes {
                let change = StateChange {
                    pos: Pos(base.0 + row.pos.0),
                    kind: row.kind.clone(),
                    state_key: row.state_key.clone(),
                    old: row.old_nid,
                    new: row.new_nid,
                };
                recent.push(row.room_nid, change);
            }
        }
    }

    fn clear(&self, head: Pos) {
        self.lock().clear(head);
    }
}
