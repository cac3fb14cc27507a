//! The newest rows of rooms, in memory and without gaps, for readers that continue where they left
//! off.
//!
//! The log says whenever a room gets a row. A room that has no rows here is therefore known to have
//! had none for a while.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use stoa_base::{Pos, RoomNid};
use stoa_cluster::SingleFlight;

/// How many of a room's newest rows stay in memory.
const ROWS_OF_ROOM: usize = 64;

/// How many bytes a room without rows takes, roughly.
const EMPTY_ROOM: usize = 160;

/// A row that belongs to a room.
pub(crate) trait RecentRow: Clone {
    /// The row's position in the log.
    fn pos(&self) -> Pos;

    /// How many bytes the row takes, roughly.
    fn weight(&self) -> usize;
}

/// The newest rows of all rooms, up to what this node has applied of the log.
#[derive(Debug)]
pub(crate) struct Recent<R> {
    max_bytes: usize,
    bytes: usize,
    /// A room that is absent from `rooms` has no rows after this position.
    complete_after: Pos,
    /// The position up to which the log is applied.
    applied: Pos,
    rooms: HashMap<RoomNid, RecentOfRoom<R>>,
}

/// The rows of a room after a position, without gaps.
#[derive(Debug)]
struct RecentOfRoom<R> {
    complete_after: Pos,
    /// The position up to which rows were read ahead of what is applied.
    read_up_to: Pos,
    rows: VecDeque<R>,
    bytes: usize,
}

impl<R> RecentOfRoom<R> {
    const fn new(complete_after: Pos) -> Self {
        Self { complete_after, read_up_to: Pos::START, rows: VecDeque::new(), bytes: 0 }
    }
}

/// The requested rows of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Newest<R> {
    /// The rows, oldest first.
    pub(crate) rows: Vec<R>,
    /// Whether there are older rows in the requested range.
    pub(crate) more: bool,
}

/// The newest rows of all rooms, shared by all readers.
#[derive(Debug)]
pub(crate) struct SharedRecent<R> {
    recent: Mutex<Recent<R>>,
    /// The rooms whose rows are being read.
    pub(crate) reading: SingleFlight<RoomNid>,
}

impl<R: RecentRow> SharedRecent<R> {
    /// An empty cache of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { recent: Mutex::new(Recent::new(max_bytes)), reading: SingleFlight::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Recent<R>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes all rows take, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes()
    }
}

impl<R: RecentRow> Recent<R> {
    /// An empty cache of at most `max_bytes`. It is unusable until it has been cleared once, at the
    /// head of the log.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            complete_after: Pos(i64::MAX),
            applied: Pos::START,
            rooms: HashMap::new(),
        }
    }

    /// Records that a batch ending at `last` is applied. Call this before adding its rows.
    pub(crate) fn apply(&mut self, last: Pos) {
        self.applied = last;
    }

    /// The newest rows of a room after `since` and up to `up_to`, at most `limit`. None if not all
    /// of them are in memory.
    pub(crate) fn newest(
        &self,
        room: RoomNid,
        since: Pos,
        up_to: Pos,
        limit: usize,
    ) -> Option<Newest<R>> {
        let Some(recent) = self.rooms.get(&room) else {
            let is_complete = self.complete_after <= since && up_to <= self.applied;
            return is_complete.then(|| Newest { rows: Vec::new(), more: false });
        };
        if up_to > self.applied.max(recent.read_up_to) {
            return None;
        }
        let begin = recent.rows.partition_point(|row| row.pos() <= since);
        let end = recent.rows.partition_point(|row| row.pos() <= up_to);
        let len = end.saturating_sub(begin);
        let more = len > limit;
        (more || recent.complete_after <= since).then(|| Newest {
            rows: recent
                .rows
                .range(begin.max(end.saturating_sub(limit))..end.max(begin))
                .cloned()
                .collect(),
            more,
        })
    }

    /// Adds a row that is newer than all others of its room.
    pub(crate) fn push(&mut self, room: RoomNid, row: R) {
        let weight = row.weight();
        let recent = Self::room(&mut self.rooms, &mut self.bytes, room, self.complete_after);
        if row.pos() <= recent.complete_after.max(recent.read_up_to) {
            // The row was lost, or is already here.
            return;
        }
        recent.bytes += weight;
        self.bytes += weight;
        recent.rows.push_back(row);
        while recent.rows.len() > ROWS_OF_ROOM || recent.bytes > self.max_bytes / 8 {
            let Some(oldest) = recent.rows.pop_front() else { break };
            recent.complete_after = recent.complete_after.max(oldest.pos());
            recent.bytes -= oldest.weight();
            self.bytes -= oldest.weight();
        }
        self.drop_quiet_rooms();
    }

    /// Forgets a room: its rows up to `pos` are no longer known.
    pub(crate) fn lose(&mut self, room: RoomNid, pos: Pos) {
        let recent = Self::room(&mut self.rooms, &mut self.bytes, room, pos);
        self.bytes -= recent.bytes;
        *recent = RecentOfRoom::new(pos);
        self.drop_quiet_rooms();
    }

    /// Adds rows that were read: all rows of a room after `after` and up to `up_to`, oldest first.
    /// If rows can change, `up_to` must not exceed what was applied before the read.
    pub(crate) fn fill(&mut self, room: RoomNid, rows: Vec<R>, after: Pos, up_to: Pos) {
        let complete_after =
            self.rooms.get(&room).map_or(self.complete_after, |recent| recent.complete_after);
        if up_to < complete_after {
            // Rows of the room were lost in the meantime.
            return;
        }
        let recent = Self::room(&mut self.rooms, &mut self.bytes, room, complete_after);
        let known_up_to = self.applied.max(recent.read_up_to);
        if up_to > known_up_to && after <= known_up_to {
            for row in rows.iter().filter(|row| row.pos() > known_up_to) {
                recent.bytes += row.weight();
                self.bytes += row.weight();
                recent.rows.push_back(row.clone());
            }
            recent.read_up_to = up_to;
        }
        if after >= complete_after {
            self.drop_quiet_rooms();
            return;
        }
        let older = rows.into_iter().rev().skip_while(|row| row.pos() > complete_after);
        recent.complete_after = after;
        for row in older {
            let is_full = recent.rows.len() >= ROWS_OF_ROOM
                || recent.bytes + row.weight() > self.max_bytes / 8;
            if is_full {
                recent.complete_after = row.pos();
                break;
            }
            recent.bytes += row.weight();
            self.bytes += row.weight();
            recent.rows.push_front(row);
        }
        self.drop_quiet_rooms();
    }

    /// Forgets everything: nothing is known about rows up to `head`.
    pub(crate) fn clear(&mut self, head: Pos) {
        *self = Self { complete_after: head, applied: head, ..Self::new(self.max_bytes) };
    }

    /// How many bytes all rows take, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    fn room<'a>(
        rooms: &'a mut HashMap<RoomNid, RecentOfRoom<R>>,
        bytes: &mut usize,
        room: RoomNid,
        complete_after: Pos,
    ) -> &'a mut RecentOfRoom<R> {
        rooms.entry(room).or_insert_with(|| {
            *bytes += EMPTY_ROOM;
            RecentOfRoom::new(complete_after)
        })
    }

    /// If the cache is too large, drops the half of the rooms that have been quiet the longest.
    fn drop_quiet_rooms(&mut self) {
        if self.bytes <= self.max_bytes {
            return;
        }
        let newest = |recent: &RecentOfRoom<R>| {
            recent.rows.back().map_or(recent.complete_after, RecentRow::pos)
        };
        let mut rooms: Vec<(Pos, RoomNid)> =
            self.rooms.iter().map(|(room, recent)| (newest(recent), *room)).collect();
        rooms.sort_unstable();
        for (newest, room) in rooms.drain(..rooms.len().div_ceil(2)) {
            if let Some(recent) = self.rooms.remove(&room) {
                self.bytes -= recent.bytes + EMPTY_ROOM;
                self.complete_after = self.complete_after.max(newest).max(recent.complete_after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomNid = RoomNid(1);

    impl RecentRow for i64 {
        fn pos(&self) -> Pos {
            Pos(*self)
        }

        fn weight(&self) -> usize {
            10
        }
    }

    fn recent(head: i64) -> Recent<i64> {
        let mut recent = Recent::new(100_000);
        recent.clear(Pos(head));
        recent.apply(Pos(10_000));
        recent
    }

    fn newest(recent: &Recent<i64>, since: i64, limit: usize) -> Option<(Vec<i64>, bool)> {
        let newest = recent.newest(ROOM, Pos(since), Pos(1_000), limit)?;
        Some((newest.rows, newest.more))
    }

    #[test]
    fn everything_after_the_start_is_known_and_nothing_before() {
        let mut recent = recent(10);
        assert_eq!(newest(&recent, 9, 5), None);
        assert_eq!(newest(&recent, 10, 5), Some((vec![], false)));
        recent.push(ROOM, 20);
        recent.push(ROOM, 30);
        assert_eq!(newest(&recent, 9, 5), None);
        assert_eq!(newest(&recent, 10, 5), Some((vec![20, 30], false)));
        assert_eq!(newest(&recent, 20, 5), Some((vec![30], false)));
        assert_eq!(newest(&recent, 10, 1), Some((vec![30], true)));
        assert_eq!(newest(&recent, 9, 1), Some((vec![30], true)), "older rows do not matter");
        let none = recent.newest(ROOM, Pos(30), Pos(25), 5).unwrap();
        assert_eq!(none, Newest { rows: vec![], more: false });
        assert_eq!(recent.newest(ROOM, Pos(10), Pos(25), 5).unwrap().rows, [20]);
    }

    #[test]
    fn rows_that_were_read_are_kept_and_join_those_from_the_log() {
        let mut recent = recent(10);
        recent.push(ROOM, 20);
        recent.fill(ROOM, vec![4, 6, 20], Pos(3), Pos(25));
        assert_eq!(newest(&recent, 3, 5), Some((vec![4, 6, 20], false)));
        assert_eq!(newest(&recent, 2, 5), None);
        recent.push(ROOM, 30);
        assert_eq!(newest(&recent, 4, 5), Some((vec![6, 20, 30], false)));
    }

    #[test]
    fn rows_that_were_read_ahead_of_the_log_are_not_added_twice() {
        let mut recent: Recent<i64> = Recent::new(100_000);
        recent.clear(Pos(10));
        recent.apply(Pos(20));
        recent.push(ROOM, 20);
        assert_eq!(recent.newest(ROOM, Pos(10), Pos(40), 9), None);
        recent.fill(ROOM, vec![30, 40], Pos(20), Pos(40));
        let ahead = recent.newest(ROOM, Pos(10), Pos(40), 9).unwrap();
        assert_eq!(ahead.rows, [20, 30, 40]);
        recent.apply(Pos(50));
        [30, 40, 50].into_iter().for_each(|pos| recent.push(ROOM, pos));
        let all = recent.newest(ROOM, Pos(10), Pos(50), 9).unwrap();
        assert_eq!(all.rows, [20, 30, 40, 50]);
    }

    #[test]
    fn rows_that_were_read_before_a_loss_are_not_kept() {
        let mut recent = recent(10);
        recent.lose(ROOM, Pos(30));
        recent.fill(ROOM, vec![4, 20], Pos(3), Pos(25));
        assert_eq!(newest(&recent, 25, 5), None);
        assert_eq!(newest(&recent, 30, 5), Some((vec![], false)));
        recent.clear(Pos(40));
        recent.apply(Pos(10_000));
        recent.fill(ROOM, vec![4, 20], Pos(3), Pos(35));
        assert_eq!(newest(&recent, 35, 5), None);
    }

    #[test]
    fn only_the_newest_rows_of_a_busy_room_are_kept() {
        let mut recent = recent(0);
        (1..=100).for_each(|pos| recent.push(ROOM, pos));
        assert_eq!(newest(&recent, 35, 100), None);
        assert_eq!(newest(&recent, 36, 100).unwrap().0.len(), 64);
        recent.fill(ROOM, (1..=100).collect(), Pos(0), Pos(100));
        assert_eq!(newest(&recent, 36, 100).unwrap().0.len(), 64);
        assert_eq!(newest(&recent, 35, 100), None);
    }

    #[test]
    fn quiet_rooms_are_evicted_first_and_not_taken_for_empty() {
        let mut recent = recent(0);
        for pos in 1..10_000 {
            recent.push(RoomNid(pos), pos);
            assert!(recent.bytes() <= 100_000);
        }
        for pos in 1..10_000 {
            let rows = recent.newest(RoomNid(pos), Pos(pos - 1), Pos(10_000), 5);
            assert!(rows.is_none_or(|newest| newest.rows == [pos]), "{pos}");
        }
        assert!(recent.newest(RoomNid(9_999), Pos(9_998), Pos(10_000), 5).is_some());
    }
}
