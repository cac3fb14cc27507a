//! The readers that wait for news, by what they wait for.
//!
//! A user's devices share one subscription to the rooms that the user is in. It outlives their
//! waits, so waiting again costs a device the same no matter how many rooms its user is in: only
//! rooms that the user has joined or left since are updated.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ruma::UserId;
use stoa_base::RoomNid;
use stoa_storage::log::{Topic, Touched};
use tokio::sync::Notify;

/// How many topics are kept for subscriptions that nobody is waiting on. Each takes at most 150
/// bytes, not counting user IDs.
const IDLE_TOPICS: usize = 100_000;

/// The waiting readers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waiters(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    /// The subscriptions to each topic.
    by_topic: HashMap<Topic, HashSet<u64>>,
    subscriptions: HashMap<u64, Subscription>,
    by_user: HashMap<String, u64>,
    /// Users' subscriptions that nobody is waiting on, ordered by when that began.
    idle: BTreeMap<u64, u64>,
    idle_topics: usize,
    waiting: usize,
    /// How often a topic was added or removed.
    notes: u64,
}

/// What a reader, or all devices of a user, wait for.
#[derive(Debug)]
struct Subscription {
    about: About,
    waiting: HashMap<u64, Arc<Notify>>,
    /// Set if nobody is waiting on it: since when, as a key of [`Registry::idle`], and how many
    /// topics it had then.
    idle: Option<(u64, usize)>,
}

#[derive(Debug)]
enum About {
    /// Topics, for one reader and one wait.
    Topics(Vec<Topic>),
    /// A user, and the rooms that they are in.
    User { user_id: String, rooms: Arc<BTreeSet<RoomNid>> },
}

impl About {
    fn topics(&self) -> Vec<Topic> {
        match self {
            Self::Topics(topics) => topics.clone(),
            Self::User { user_id, rooms } => {
                let rooms = rooms.iter().map(|room| Topic::from(*room));
                rooms.chain([Topic::User(user_id.clone())]).collect()
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Topics(topics) => topics.len(),
            Self::User { rooms, .. } => rooms.len() + 1,
        }
    }
}

/// How a set of rooms differs from the registered one.
struct Difference {
    noted: Arc<BTreeSet<RoomNid>>,
    added: Vec<RoomNid>,
    removed: Vec<RoomNid>,
}

impl Waiters {
    /// Registers a reader that wants to be woken by any change that concerns one of `topics`.
    ///
    /// Nothing announced from now on is missed, provided that the reader registers, then reads, and
    /// only then waits.
    pub fn register(&self, topics: Vec<Topic>) -> Wait {
        let mut registry = self.lock();
        let id = registry.subscribe(About::Topics(topics));
        let (wait, notify) = registry.wait(id);
        drop(registry);
        Wait::new(self.clone(), id, wait, notify)
    }

    /// Like [`Waiters::register`], for a device of a user who is in `rooms`. Two sets in the same
    /// allocation are taken to be equal without comparing them.
    pub fn register_user(&self, user_id: &UserId, rooms: &Arc<BTreeSet<RoomNid>>) -> Wait {
        loop {
            // Sets are compared without the lock, because appends wait for it.
            let difference = self.noted(user_id).map(|noted| Difference::new(noted, rooms));
            let mut registry = self.lock();
            let Some(id) = registry.subscription_of(user_id, rooms, difference) else { continue };
            let (wait, notify) = registry.wait(id);
            drop(registry);
            return Wait::new(self.clone(), id, wait, notify);
        }
    }

    /// The rooms that are registered for a user.
    fn noted(&self, user_id: &UserId) -> Option<Arc<BTreeSet<RoomNid>>> {
        let registry = self.lock();
        let id = registry.by_user.get(user_id.as_str())?;
        match &registry.subscriptions.get(id)?.about {
            About::User { rooms, .. } => Some(Arc::clone(rooms)),
            About::Topics(_) => None,
        }
    }

    /// Wakes everyone who waits for something in `touched`.
    pub fn wake(&self, touched: &Touched) {
        self.lock().wake(touched.iter().map(|(_, topic)| topic));
    }

    /// Wakes everyone who waits for something about `topic`.
    pub fn wake_topic(&self, topic: &Topic) {
        self.lock().wake([topic]);
    }

    /// Wakes everyone, because it is unknown what changed or because the server is stopping.
    pub fn wake_all(&self) {
        self.lock().subscriptions.values().for_each(Subscription::wake);
    }

    /// The number of waiting readers.
    pub fn len(&self) -> usize {
        self.lock().waiting
    }

    /// Whether nobody is waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a topic was added or removed: the cost of registering so far.
    pub fn notes(&self) -> u64 {
        self.lock().notes
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Difference {
    fn new(noted: Arc<BTreeSet<RoomNid>>, rooms: &Arc<BTreeSet<RoomNid>>) -> Self {
        let (added, removed) = if Arc::ptr_eq(&noted, rooms) {
            (Vec::new(), Vec::new())
        } else {
            (
                rooms.difference(&noted).copied().collect(),
                noted.difference(rooms).copied().collect(),
            )
        };
        Self { noted, added, removed }
    }
}

impl Subscription {
    fn wake(&self) {
        self.waiting.values().for_each(|notify| notify.notify_one());
    }
}

impl Registry {
    fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn subscribe(&mut self, about: About) -> u64 {
        let id = self.new_id();
        self.note(id, about.topics());
        let subscription = Subscription { about, waiting: HashMap::new(), idle: None };
        self.subscriptions.insert(id, subscription);
        id
    }

    fn unsubscribe(&mut self, id: u64) {
        let Some(subscription) = self.subscriptions.remove(&id) else { return };
        self.remove_notes(id, subscription.about.topics());
        if let About::User { user_id, .. } = &subscription.about {
            self.by_user.remove(user_id);
        }
    }

    fn note(&mut self, id: u64, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            self.notes += 1;
            self.by_topic.entry(topic).or_default().insert(id);
        }
    }

    fn remove_notes(&mut self, id: u64, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            self.notes += 1;
            if let Some(ids) = self.by_topic.get_mut(&topic) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_topic.remove(&topic);
                }
            }
        }
    }

    /// The user's subscription, updated to include these rooms; `None` if it is no longer the one
    /// that `difference` was computed from.
    fn subscription_of(
        &mut self,
        user_id: &UserId,
        rooms: &Arc<BTreeSet<RoomNid>>,
        difference: Option<Difference>,
    ) -> Option<u64> {
        let known = self.by_user.get(user_id.as_str()).copied();
        let (id, Difference { noted, added, removed }) = match (known, difference) {
            (None, None) => {
                let about = About::User { user_id: user_id.to_string(), rooms: Arc::clone(rooms) };
                let id = self.subscribe(about);
                self.by_user.insert(user_id.to_string(), id);
                return Some(id);
            }
            (Some(id), Some(difference)) => (id, difference),
            _ => return None,
        };
        let subscription = self.subscriptions.get_mut(&id)?;
        let is_alone = subscription.waiting.is_empty();
        let About::User { rooms: known, .. } = &mut subscription.about else { return None };
        if !Arc::ptr_eq(known, &noted) {
            return None;
        }
        if removed.is_empty() || is_alone {
            *known = Arc::clone(rooms);
        } else {
            // Another device may know a newer set of rooms, so none are removed.
            Arc::make_mut(known).extend(&added);
        }
        self.note(id, added.into_iter().map(Topic::from));
        if is_alone {
            self.remove_notes(id, removed.into_iter().map(Topic::from));
        }
        Some(id)
    }

    /// Begins a wait under a subscription.
    fn wait(&mut self, id: u64) -> (u64, Arc<Notify>) {
        let (wait, notify) = (self.new_id(), Arc::new(Notify::new()));
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.waiting.insert(wait, Arc::clone(&notify));
            self.waiting += 1;
            if let Some((since, topics)) = subscription.idle.take() {
                self.idle.remove(&since);
                self.idle_topics -= topics;
            }
        }
        (wait, notify)
    }

    /// Ends a wait. A user's subscription is kept as long as there is space.
    fn end(&mut self, id: u64, wait: u64) {
        let since = self.new_id();
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        self.waiting -= usize::from(subscription.waiting.remove(&wait).is_some());
        if !subscription.waiting.is_empty() {
            return;
        }
        if matches!(subscription.about, About::Topics(_)) {
            self.unsubscribe(id);
            return;
        }
        let topics = subscription.about.len();
        subscription.idle = Some((since, topics));
        self.idle_topics += topics;
        self.idle.insert(since, id);
        while self.idle_topics > IDLE_TOPICS
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            let idle = self.subscriptions.get(&oldest).and_then(|oldest| oldest.idle);
            self.idle_topics -= idle.map_or(0, |(_, topics)| topics);
            self.unsubscribe(oldest);
        }
    }

    fn wake<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) {
        let mut woken = HashSet::new();
        for topic in topics {
            woken.extend(self.by_topic.get(topic).into_iter().flatten());
        }
        woken.iter().filter_map(|id| self.subscriptions.get(id)).for_each(Subscription::wake);
    }
}

/// A reader's registration. It ends when this is dropped.
#[derive(Debug)]
pub struct Wait {
    waiters: Waiters,
    subscription: u64,
    id: u64,
    notify: Arc<Notify>,
}

impl Wait {
    fn new(waiters: Waiters, subscription: u64, id: u64, notify: Arc<Notify>) -> Self {
        metrics::gauge!("stoa_waiting_readers").increment(1.0);
        Self { waiters, subscription, id, notify }
    }

    /// Waits for the next change since the registration or since this last returned.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiters.lock().end(self.subscription, self.id);
        metrics::gauge!("stoa_waiting_readers").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::user_id;
    use stoa_storage::log::Stream;
    use tokio::time::timeout;

    use super::*;

    fn touched(room: i64) -> Touched {
        let mut touched = Touched::default();
        touched.add(Stream::Timeline, RoomNid(room));
        touched
    }

    fn rooms(rooms: impl IntoIterator<Item = i64>) -> Arc<BTreeSet<RoomNid>> {
        Arc::new(rooms.into_iter().map(RoomNid).collect())
    }

    async fn is_woken(wait: &Wait) -> bool {
        timeout(Duration::from_millis(20), wait.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn only_readers_of_the_room_are_woken() {
        let waiters = Waiters::default();
        let one = waiters.register(vec![Topic::Room(1), Topic::Room(2)]);
        let other = waiters.register(vec![Topic::Room(3)]);
        waiters.wake(&touched(2));
        assert!(is_woken(&one).await);
        assert!(!is_woken(&other).await);
    }

    #[tokio::test]
    async fn a_change_between_registering_and_waiting_is_not_missed() {
        let waiters = Waiters::default();
        let wait = waiters.register(vec![Topic::Room(1)]);
        waiters.wake(&touched(1));
        assert!(is_woken(&wait).await);
    }

    #[tokio::test]
    async fn a_dropped_registration_leaves_nothing_behind() {
        let waiters = Waiters::default();
        drop(waiters.register(vec![Topic::Room(1)]));
        assert!(waiters.is_empty());
        assert!(waiters.lock().by_topic.is_empty());
    }

    #[tokio::test]
    async fn waiting_again_costs_the_same_no_matter_how_many_rooms() {
        let waiters = Waiters::default();
        let (alice, many) = (user_id!("@alice:x"), rooms(1..=3_000));
        drop(waiters.register_user(alice, &many));
        let before = waiters.notes();
        assert_eq!(before, 3_001);
        for _ in 0..100 {
            let (phone, laptop) =
                (waiters.register_user(alice, &many), waiters.register_user(alice, &many));
            waiters.wake(&touched(7));
            assert!(is_woken(&phone).await && is_woken(&laptop).await);
        }
        assert_eq!(waiters.notes(), before);
        // One room more and one fewer.
        let _wait = waiters.register_user(alice, &rooms(2..=3_001));
        assert_eq!(waiters.notes(), before + 2);
    }

    #[tokio::test]
    async fn a_device_with_an_older_set_of_rooms_removes_none_from_another() {
        let waiters = Waiters::default();
        let alice = user_id!("@alice:x");
        let phone = waiters.register_user(alice, &rooms([1, 2]));
        let laptop = waiters.register_user(alice, &rooms([1, 3]));
        for (room, is_waited_for) in [(1, true), (2, true), (3, true), (4, false)] {
            waiters.wake(&touched(room));
            assert_eq!(is_woken(&phone).await, is_waited_for, "{room}");
            assert_eq!(is_woken(&laptop).await, is_waited_for, "{room}");
        }
        drop((phone, laptop));
        let phone = waiters.register_user(alice, &rooms([1]));
        waiters.wake(&touched(2));
        assert!(!is_woken(&phone).await);
        waiters.wake_topic(&Topic::from(alice));
        assert!(is_woken(&phone).await);
    }

    #[tokio::test]
    async fn idle_subscriptions_do_not_pile_up() {
        let waiters = Waiters::default();
        let many = rooms(1..=1_000);
        for user in 0..300 {
            let user_id = UserId::parse(format!("@u{user}:x")).unwrap();
            drop(waiters.register_user(&user_id, &many));
        }
        let registry = waiters.lock();
        assert!(registry.idle_topics <= IDLE_TOPICS);
        assert_eq!(registry.subscriptions.len(), IDLE_TOPICS / 1_001);
        assert_eq!(registry.by_user.len(), registry.subscriptions.len());
        let noted: usize = registry.by_topic.values().map(HashSet::len).sum();
        assert_eq!(noted, registry.idle_topics);
    }
}
