//! Entries that are dropped by a condition on their contents.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use stoa_cluster::LogCache;

const ROUNDS: u64 = 20_000;

/// Meanwhile other threads make the cache do its maintenance.
#[test]
fn entries_dropped_by_a_condition_do_not_come_back() {
    let cache: LogCache<u64, u64> = LogCache::new(16 << 20, |_, _| 0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    cache.bytes();
                }
            });
        }
        for round in 0..ROUNDS {
            cache.put(round, round);
            cache.remove_if(move |_, value| *value == round);
            assert_eq!(cache.get(&round), None, "at once");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let left: Vec<u64> = (0..ROUNDS).filter(|round| cache.get(round).is_some()).collect();
    assert!(left.is_empty(), "{} of {ROUNDS} came back, such as {:?}", left.len(), left.first());
}

#[test]
fn other_entries_and_later_ones_stay() {
    let cache: LogCache<u64, u64> = LogCache::new(16 << 20, |_, _| 0);
    for round in 0..1_000 {
        cache.put(round, round % 10);
    }
    for round in 0..100 {
        cache.remove_if(move |_, value| *value == round % 9);
        cache.put(10_000 + round, round % 9);
        assert_eq!(cache.get(&(10_000 + round)), Some(round % 9));
    }
    let left = (0..1_000).filter(|key| cache.get(key).is_some()).count();
    assert_eq!(left, 100, "those that hold nine");
    let later = (10_000..10_100).filter(|key| cache.get(key).is_some()).count();
    assert_eq!(later, 9, "each took the place of those before");
}
