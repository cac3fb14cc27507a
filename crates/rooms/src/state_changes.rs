//! How the current state of rooms changed, with the newest changes in memory: whoever waits for
//! news of a room reads no table when somebody joins it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use stoa_base::{Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    log::{Stream, Topic},
    repo::{self, state::StateChange},
};

use crate::{Result, Rooms, room::Room};

/// How many of a room's newest changes stay in memory.
const CHANGES_OF_ROOM: usize = 64;

/// Of how many rooms changes stay in memory. Where there are more, all are dropped.
const ROOMS: usize = 5_000;

impl Rooms {
    /// The changes of a room's current state after `since` and up to `up_to`, in order.
    pub async fn state_changes(
        &self,
        room: &Room,
        since: Pos,
        up_to: Pos,
    ) -> Result<Vec<StateChange>> {
        if let Some(changes) = self.recent_changes.between(room.nid, since, up_to) {
            return Ok(changes);
        }
        let mut conn = self.store.read().await?;
        Ok(repo::state::changes(&mut conn, room.nid, since, up_to).await?)
    }
}

/// The newest changes of the rooms that this node wrote to lately.
#[derive(Debug, Default)]
pub(crate) struct RecentChanges(Mutex<HashMap<RoomNid, Recent>>);

/// The changes of a room after a position, without a gap.
#[derive(Debug)]
struct Recent {
    complete_after: Pos,
    changes: VecDeque<StateChange>,
}

impl RecentChanges {
    /// All changes of a room after `since` and up to `up_to`, where they are all in memory.
    fn between(&self, room: RoomNid, since: Pos, up_to: Pos) -> Option<Vec<StateChange>> {
        let rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = rooms.get(&room).filter(|recent| recent.complete_after <= since)?;
        let is_between = |change: &&StateChange| change.pos > since && change.pos <= up_to;
        Some(recent.changes.iter().filter(is_between).cloned().collect())
    }
}

impl CacheKeeper for RecentChanges {
    fn apply(&self, batch: Batch<'_>) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(appends) = batch.appends else {
            for (stream, topic) in batch.touched.iter() {
                if let (Stream::State, Topic::Room(room)) = (stream, topic) {
                    rooms.remove(&RoomNid(*room));
                }
            }
            return;
        };
        for (base, append) in appends {
            for row in &append.state_changes {
                if rooms.len() >= ROOMS && !rooms.contains_key(&row.room_nid) {
                    rooms.clear();
                }
                let pos = Pos(base.0 + row.pos.0);
                let recent = rooms.entry(row.room_nid).or_insert_with(|| Recent {
                    complete_after: Pos(pos.0 - 1),
                    changes: VecDeque::new(),
                });
                recent.changes.push_back(StateChange {
                    pos,
                    kind: row.kind.clone(),
                    state_key: row.state_key.clone(),
                    old: row.old_nid,
                    new: row.new_nid,
                });
                if recent.changes.len() > CHANGES_OF_ROOM
                    && let Some(oldest) = recent.changes.pop_front()
                {
                    recent.complete_after = oldest.pos;
                }
            }
        }
    }

    fn clear(&self, _: Pos) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
