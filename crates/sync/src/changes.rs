//! When what last changed, in memory: a sync with nothing new reads no table.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use smallvec::SmallVec;
use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::log::{Stream, Topic};

/// How many bytes a generation takes, roughly.
const BYTES: usize = 12 << 20;

/// What a topic takes, in bytes, roughly, but for the ID of a user.
const TOPIC: usize = 224;

/// The last change of each stream of each room and user that changed lately. It follows the log.
///
/// It holds two generations: when the younger is full, the older is dropped. Who asks about a
/// time before the older began is told that everything may have changed.
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
    /// Every change after this is noted, up to where the next generation begins.
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

    /// Whether every change after `since` is noted.
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
            let last = match index.young.last.get_mut(topic) {
                Some(last) => last,
                None => {
                    index.young.bytes += weight(topic);
                    index.young.last.entry(topic.clone()).or_default()
                }
            };
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
    fn only_what_changed_has_changed() {
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
    fn what_was_before_is_not_known() {
        let index = ChangeIndex::new();
        index.clear(Pos(10));
        assert!(may_have_changed(&index, 1, 9));
        assert!(!may_have_changed(&index, 1, 10));
    }

    #[test]
    fn the_longest_names_do_not_fill_the_memory() {
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
        // The generation of 3 and 4 is the older now; that of 1 and 2 is gone.
        assert!(may_have_changed(&index, 9, 1), "nobody knows");
        assert!(!may_have_changed(&index, 9, 2));
        assert!(may_have_changed(&index, 3, 2));
        assert!(!may_have_changed(&index, 3, 3));
        apply(&index, 5, 3);
        assert!(may_have_changed(&index, 3, 4));
    }
}
