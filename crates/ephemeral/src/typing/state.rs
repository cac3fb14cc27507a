//! The typing state in the memory of this node.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ruma::{OwnedUserId, UserId};
use stoa_base::RoomNid;
use tokio::time::Instant;

use super::{MAX_IN_ROOM, MAX_TYPING, RETAINED};

/// The users who are typing in all rooms, at one count.
#[derive(Debug, Default)]
pub(super) struct State {
    epoch: i64,
    counter: i64,
    rooms: HashMap<RoomNid, TypingInRoom>,
    by_written: BTreeMap<i64, RoomNid>,
    /// The next timeout in each room where someone is typing.
    deadlines: BTreeSet<(Instant, RoomNid)>,
    /// How many users are typing in all rooms.
    typing: usize,
}

/// The users who are typing in one room.
#[derive(Clone, Debug, Default)]
pub(super) struct TypingInRoom {
    /// The count at which this was last written.
    pub(super) written: i64,
    /// The count at which the set of users last changed.
    pub(super) version: i64,
    /// The users who are typing, and until when.
    pub(super) users: BTreeMap<OwnedUserId, Instant>,
}

impl TypingInRoom {
    fn deadline(&self) -> Option<Instant> {
        self.users.values().min().copied()
    }

    fn list(&self) -> Vec<OwnedUserId> {
        self.users.keys().take(MAX_IN_ROOM).cloned().collect()
    }
}

impl State {
    pub(super) fn new(epoch: i64) -> Self {
        Self { epoch, ..Self::default() }
    }

    pub(super) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(super) fn counter(&self) -> i64 {
        self.counter
    }

    pub(super) fn typing(&self, room: RoomNid) -> (i64, Vec<OwnedUserId>) {
        self.rooms.get(&room).map_or_else(Default::default, |room| (room.version, room.list()))
    }

    pub(super) fn changed_since(
        &self,
        room: RoomNid,
        since: i64,
    ) -> Option<(i64, Vec<OwnedUserId>)> {
        let horizon = self.counter - RETAINED;
        match self.rooms.get(&room) {
            Some(room) => (room.version > since).then(|| (room.version, room.list())),
            None => (since < horizon).then(|| (horizon, Vec::new())),
        }
    }

    pub(super) fn is_typing(&self, user_id: &UserId, room: RoomNid) -> bool {
        self.rooms.get(&room).is_some_and(|room| room.users.contains_key(user_id))
    }

    /// Whether the user is already typing or there is space for one more.
    pub(super) fn has_place_for(&self, user_id: &UserId, room: RoomNid) -> bool {
        let in_room = self.rooms.get(&room).map_or(0, |room| room.users.len());
        self.is_typing(user_id, room) || (in_room < MAX_IN_ROOM && self.typing < MAX_TYPING)
    }

    /// When the next user stops typing, unless their client extends it.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The rooms in which some user's timeout has passed.
    pub(super) fn overdue(&self, now: Instant) -> Vec<RoomNid> {
        let overdue = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        overdue.map(|(_, room)| *room).collect()
    }

    /// Makes a change at the next count, removes users whose timeout has passed, and returns
    /// whether the set of users changed.
    pub(super) fn change(
        &mut self,
        room: RoomNid,
        user: Option<(&UserId, Option<Instant>)>,
        now: Instant,
    ) -> bool {
        let before = self.rooms.get(&room).cloned().unwrap_or_default();
        let mut users = before.users.clone();
        match user {
            Some((user_id, Some(until))) => {
                users.insert(user_id.to_owned(), until);
            }
            Some((user_id, None)) => {
                users.remove(user_id);
            }
            None => {}
        }
        users.retain(|_, until| *until > now);
        if before.users.is_empty() && users.is_empty() {
            return false;
        }
        let written = self.counter + 1;
        let is_news = !users.keys().eq(before.users.keys());
        let version = if is_news { written } else { before.version };
        self.put(room, TypingInRoom { written, version, users })
    }

    /// Replaces the state of a room, and returns whether its set of users changed.
    pub(super) fn put(&mut self, room: RoomNid, new: TypingInRoom) -> bool {
        self.advance(new.written);
        self.by_written.insert(new.written, room);
        self.deadlines.extend(new.deadline().map(|deadline| (deadline, room)));
        self.typing += new.users.len();
        let version = new.version;
        let old = self.rooms.insert(room, new);
        let is_news = old.as_ref().is_none_or(|old| old.version != version);
        if let Some(old) = old {
            self.unlink(room, &old);
        }
        is_news
    }

    /// Sets that everything up to `counter` is known, and forgets rooms beyond the retention.
    pub(super) fn advance(&mut self, counter: i64) {
        self.counter = self.counter.max(counter);
        while let Some(first) = self.by_written.first_entry()
            && *first.key() <= self.counter - RETAINED
        {
            let room = first.remove();
            if let Some(old) = self.rooms.remove(&room) {
                self.unlink(room, &old);
            }
        }
    }

    /// Begins another epoch with nothing in it, and returns who was typing in the last one, and
    /// until when.
    pub(super) fn begin(&mut self, epoch: i64) -> Vec<(RoomNid, OwnedUserId, Instant)> {
        let before = std::mem::replace(self, Self::new(epoch));
        let rooms = before.rooms.into_iter();
        rooms
            .flat_map(|(nid, room)| {
                room.users.into_iter().map(move |(user_id, until)| (nid, user_id, until))
            })
            .collect()
    }

    /// Removes a room's old entry from the indexes, except where the current entry shares it.
    fn unlink(&mut self, room: RoomNid, old: &TypingInRoom) {
        let present = self.rooms.get(&room);
        if present.is_none_or(|present| present.written != old.written) {
            self.by_written.remove(&old.written);
        }
        let deadline = old.deadline();
        if deadline != present.and_then(TypingInRoom::deadline)
            && let Some(deadline) = deadline
        {
            self.deadlines.remove(&(deadline, room));
        }
        self.typing -= old.users.len();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROOM: RoomNid = RoomNid(1);

    fn user(name: &str) -> OwnedUserId {
        UserId::parse(format!("@{name}:test")).unwrap()
    }

    #[tokio::test]
    async fn a_room_is_forgotten_after_the_retention() {
        let (mut state, now) = (State::new(1), Instant::now());
        let alice = user("alice");
        state.change(ROOM, Some((&alice, Some(now + Duration::from_secs(9)))), now);
        state.advance(RETAINED);
        assert_eq!(state.typing(ROOM), (1, vec![alice]));
        assert_eq!(state.changed_since(RoomNid(2), 0), None);

        state.advance(RETAINED + 1);
        assert_eq!(state.typing(ROOM), (0, Vec::new()));
        // For a reader below the horizon, all that is known of a forgotten room is that nobody is
        // typing there now.
        assert_eq!(state.changed_since(ROOM, 0), Some((1, Vec::new())));
        assert_eq!(state.changed_since(ROOM, 1), None);
        assert!(state.rooms.is_empty() && state.by_written.is_empty());
        assert!(state.deadlines.is_empty() && state.typing == 0);
    }

    #[tokio::test]
    async fn replaced_entries_leave_nothing_in_the_indexes() {
        let (mut state, start) = (State::new(1), Instant::now());
        let (alice, bob) = (user("alice"), user("bob"));
        for second in 1..49 {
            let now = start + Duration::from_secs(second);
            let until = now + Duration::from_secs(second % 7);
            state.change(ROOM, Some((&alice, Some(until))), now);
            state.change(ROOM, Some((&bob, (second % 3 == 0).then_some(until))), now);
            assert_eq!(state.by_written.len(), 1);
            assert_eq!(state.typing, state.typing(ROOM).1.len());
            assert_eq!(state.deadlines.len(), usize::from(state.typing > 0));
        }
        let end = start + Duration::from_mins(10);
        assert_eq!(state.overdue(end), [ROOM]);
        assert!(state.change(ROOM, None, end));
        assert!(state.overdue(end).is_empty() && state.next_deadline().is_none());
    }
}
