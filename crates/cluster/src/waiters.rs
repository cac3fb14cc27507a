//! Who waits for news about what.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use stoa_storage::log::{Topic, Touched};
use tokio::sync::Notify;

/// The readers that wait, by what they wait for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waiters(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    by_topic: HashMap<Topic, HashSet<u64>>,
    by_id: HashMap<u64, Arc<Notify>>,
}

impl Waiters {
    /// Registers a reader that wants to be woken by any change that concerns one of `topics`.
    ///
    /// What is announced from now on is not missed: the reader registers, looks, and only then
    /// waits.
    pub fn register(&self, topics: Vec<Topic>) -> Wait {
        let notify = Arc::new(Notify::new());
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = registry.next;
        registry.next += 1;
        for topic in &topics {
            registry.by_topic.entry(topic.clone()).or_default().insert(id);
        }
        registry.by_id.insert(id, Arc::clone(&notify));
        drop(registry);
        metrics::gauge!("stoa_waiting_readers").increment(1.0);
        Wait { waiters: self.clone(), id, topics, notify }
    }

    /// Wakes everyone who waits for something in `touched`.
    pub fn wake(&self, touched: &Touched) {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut woken = HashSet::new();
        for (_, topic) in touched.iter() {
            woken.extend(registry.by_topic.get(topic).into_iter().flatten());
        }
        for id in woken {
            if let Some(notify) = registry.by_id.get(id) {
                notify.notify_one();
            }
        }
    }

    /// Wakes everyone who waits for something about `topic`.
    pub fn wake_topic(&self, topic: &Topic) {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in registry.by_topic.get(topic).into_iter().flatten() {
            if let Some(notify) = registry.by_id.get(id) {
                notify.notify_one();
            }
        }
    }

    /// Wakes everyone: it is not known what changed, or the server stops.
    pub fn wake_all(&self) {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for notify in registry.by_id.values() {
            notify.notify_one();
        }
    }

    /// How many readers wait.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A reader's registration; dropping it ends it.
#[derive(Debug)]
pub struct Wait {
    waiters: Waiters,
    id: u64,
    topics: Vec<Topic>,
    notify: Arc<Notify>,
}

impl Wait {
    /// Waits for the next change since the registration or the last return.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut registry = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        registry.by_id.remove(&self.id);
        for topic in &self.topics {
            if let Some(ids) = registry.by_topic.get_mut(topic) {
                ids.remove(&self.id);
                if ids.is_empty() {
                    registry.by_topic.remove(topic);
                }
            }
        }
        metrics::gauge!("stoa_waiting_readers").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stoa_storage::log::Stream;
    use tokio::time::timeout;

    use super::*;

    fn touched(room: i64) -> Touched {
        let mut touched = Touched::default();
        touched.add(Stream::Timeline, stoa_base::RoomNid(room));
        touched
    }

    #[tokio::test]
    async fn only_who_waits_for_the_room_is_woken() {
        let waiters = Waiters::default();
        let one = waiters.register(vec![Topic::Room(1), Topic::Room(2)]);
        let other = waiters.register(vec![Topic::Room(3)]);
        waiters.wake(&touched(2));
        timeout(Duration::from_secs(1), one.changed()).await.expect("woken");
        timeout(Duration::from_millis(20), other.changed()).await.expect_err("not woken");
    }

    #[tokio::test]
    async fn a_change_between_registering_and_waiting_is_not_missed() {
        let waiters = Waiters::default();
        let wait = waiters.register(vec![Topic::Room(1)]);
        waiters.wake(&touched(1));
        timeout(Duration::from_secs(1), wait.changed()).await.expect("woken");
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_registration_that_was_dropped() {
        let waiters = Waiters::default();
        drop(waiters.register(vec![Topic::Room(1)]));
        assert!(waiters.is_empty());
        assert!(waiters.0.lock().unwrap().by_topic.is_empty());
    }
}
