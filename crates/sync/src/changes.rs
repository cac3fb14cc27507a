//! An in-memory index of when each room and user last changed, so that a sync with nothing new
//! reads no table.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use smallvec::SmallVec;
use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::log::{Stream, Topic};

/// How many bytes a generation may take, roughly.
const BYTES: usize = 12 << 20;

/// How many bytes a topic takes, roughly, not counting the ID of a user.
const TOPIC: usize = 224;

/// For each room and user that changed recently, the position of the last change of each stream.
/// The index follows the log.
///
/// It holds two generations: when the younger one is full, the older one is dropped. For a position
/// before the older generation began, the index says that everything may have changed.
#[derive(Debug, Default)]
pub struct ChangeIndex(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    young: Generation,
    old: Generation,
    /// How many bytes make a generation full.
    full: usize,
}

#[derive(Debug, Default)]
struct Generation {
    /// Every change after this position is recorded, up to where the next generation begins.
    after: Pos,
    last: HashMap<Topic, SmallVec<[(Stream, Pos); 4]>>,
    /// How many bytes `last` takes, roughly.
    bytes: usize,
}

impl Generation {
    fn has_changed(&self, topic: &Topic, streams: &[Stream], since: Pos) -> bool {
        self.last.get(topic).is_some_and(|last| {
            last.iter().any(|(stream, pos)| *pos > since && streams.contains(stream))
        })
    }
}

impl ChangeIndex {
    /// An index that knows nothing yet.
    pub fn new() -> Self {
        Self::with_capacity(BYTES)
    }

    fn with_capacity(full: usize) -> Self {
        Self(RwLock::new(Index { full, ..Index::default() }))
    }

    /// Whether every change after `since` is recorded here.
    pub fn reaches_back_to(&self, since: Pos) -> bool {
        since >= self.0.read().unwrap_or_else(PoisonError::into_inner).old.after
    }

    /// Whether any of these streams of `topic` may have changed after `since`.
    pub fn may_have_changed(&self, topic: &Topic, streams: &[Stream], since: Pos) -> bool {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        since < index.old.after
            || index.young.has_changed(topic, streams, since)
            || (since < index.young.after && index.old.has_changed(topic, streams, since))
    }
}

impl CacheKeeper for ChangeIndex {
    fn apply(&self, batch: Batch<'_>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (stream, topic) in batch.touched.iter() {
            if !index.young.last.contains_key(topic) {
                index.young.bytes += weight(topic);
            }
            let last = index.young.last.entry(topic.clone()).or_default();
            match last.iter_mut().find(|(noted, _)| *noted == stream) {
                Some((_, pos)) => *pos = batch.last,
                None => last.push((stream, batch.last)),
            }
        }
        if index.young.bytes >= index.full {
            let next = Generation { after: batch.last, ..Generation::default() };
            index.old = std::mem::replace(&mut index.young, next);
        }
    }

    fn clear(&self, head: Pos) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.young = Generation { after: head, ..Generation::default() };
        index.old = Generation { after: head, ..Generation::default() };
    }
}

fn weight(topic: &Topic) -> usize {
    match topic {
        Topic::Room(_) => TOPIC,
        Topic::User(user_id) => TOPIC + user_id.len(),
    }
}

#[cfg(test)]
mod tests {
    use stoa_base::RoomNid;
    use stoa_storage::log::Touched;

    use super::*;

    fn apply(index: &ChangeIndex, last: i64, room: i64) {
        let mut touched = Touched::default();
        touched.add(Stream::Timeline, RoomNid(room));
        index.apply(Batch {
            prev: Pos(last - 1),
            last: Pos(last),
            touched: &touched,
            appends: None,
            rows: None,
        });
    }

    fn may_have_changed(index: &ChangeIndex, room: i64, since: i64) -> bool {
        index.may_have_changed(&Topic::Room(room), &[Stream::Timeline], Pos(since))
    }

    #[test]
    fn only_the_changed_stream_of_the_changed_room_has_changed() {
        let index = ChangeIndex::new();
        index.clear(Pos(10));
        apply(&index, 11, 1);
        assert!(may_have_changed(&index, 1, 10));
        assert!(!may_have_changed(&index, 1, 11));
        assert!(!may_have_changed(&index, 2, 10));
        let other = index.may_have_changed(&Topic::Room(1), &[Stream::Receipts], Pos(10));
        assert!(!other);
    }

    #[test]
    fn anything_may_have_changed_before_the_index_began() {
        let index = ChangeIndex::new();
        index.clear(Pos(10));
        assert!(may_have_changed(&index, 1, 9));
        assert!(!may_have_changed(&index, 1, 10));
    }

    #[test]
    fn the_longest_user_ids_do_not_exceed_the_memory_limit() {
        let index = ChangeIndex::new();
        index.clear(Pos(0));
        for pos in 1..=100_000 {
            let mut touched = Touched::default();
            touched.add(Stream::Sessions, Topic::User(format!("@{pos:0250}:x")));
            let (prev, last) = (Pos(pos - 1), Pos(pos));
            index.apply(Batch { prev, last, touched: &touched, appends: None, rows: None });
        }
        let index = index.0.read().unwrap();
        for generation in [&index.young, &index.old] {
            let topics = generation.last.keys().map(weight).sum::<usize>();
            assert_eq!(generation.bytes, topics);
            assert!(topics < BYTES + 1_024);
        }
    }

    #[test]
    fn a_full_index_forgets_the_oldest_and_says_so() {
        let index = ChangeIndex::with_capacity(2 * TOPIC);
        index.clear(Pos(0));
        for pos in 1..=4 {
            apply(&index, pos, pos);
        }
        // 3 and 4 are now in the older generation; the generation of 1 and 2 has been dropped.
        assert!(may_have_changed(&index, 9, 1), "the index no longer knows");
        assert!(!may_have_changed(&index, 9, 2));
        assert!(may_have_changed(&index, 3, 2));
        assert!(!may_have_changed(&index, 3, 3));
        apply(&index, 5, 3);
        assert!(may_have_changed(&index, 3, 4));
    }
}
