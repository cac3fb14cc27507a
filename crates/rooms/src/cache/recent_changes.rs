//! The newest changes of the current state of rooms, in memory.

use stoa_base::{Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    log::{Stream, Topic},
    repo::state::StateChange,
};

use crate::cache::recent::{RecentRow, SharedRecent};

/// How many bytes of changes stay in memory, roughly.
const BYTES: usize = 4 << 20;

/// How many bytes a change takes, roughly, not counting its strings.
pub(crate) const MIN_WEIGHT: usize = 128;

/// The newest changes of rooms.
#[derive(Debug)]
pub(crate) struct RecentChanges(pub(crate) SharedRecent<StateChange>);

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
        Self(SharedRecent::new(BYTES))
    }
}

impl RecentChanges {
    /// All changes of a room after `since` and up to `up_to`, or none if not all of them are in
    /// memory.
    pub(crate) fn between(
        &self,
        room: RoomNid,
        since: Pos,
        up_to: Pos,
    ) -> Option<Vec<StateChange>> {
        Some(self.0.lock().newest(room, since, up_to, usize::MAX)?.rows)
    }
}

impl CacheKeeper for RecentChanges {
    fn apply(&self, batch: Batch<'_>) {
        let mut recent = self.0.lock();
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
        self.0.lock().clear(head);
    }
}
