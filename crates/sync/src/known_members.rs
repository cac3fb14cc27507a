//! Which member events a device already has, for devices that load members lazily.
//!
//! A device certainly has the members of an answer only once it presents that answer's token or a
//! later one. If an answer is lost, the device asks again with the old token; the members of the
//! lost answer are then forgotten here and sent again. Members that this node has otherwise
//! forgotten, or that another node sent, are also sent again, which is harmless.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use moka::sync::Cache;
use stoa_base::{DeviceKey, EventNid, Pos, RoomNid};

/// How many bytes the record of what devices were sent may take, roughly.
const BYTES: u64 = 16 << 20;
/// How many bytes a member event takes in the record, roughly.
const MEMBER: usize = 72;
/// How many member events are remembered per device. Beyond this, all of them are forgotten.
const MEMBERS: usize = 400;

/// The member events that devices were sent recently.
#[derive(Debug)]
pub(crate) struct KnownMembers(Cache<DeviceKey, Arc<Mutex<Sent>>>);

/// The member events that a device was sent, each with its room and the token of the first answer
/// that contained it.
type Sent = HashMap<EventNid, (RoomNid, Pos)>;

/// What a device is sent with an answer.
pub(crate) struct SentMembers<'a, E> {
    /// The token that it presented. None: it starts afresh.
    pub(crate) since: Option<Pos>,
    /// The token of the answer.
    pub(crate) token: Pos,
    /// The rooms sent in full, as to a client that knows nothing of them: it may have dropped the
    /// members that it had.
    pub(crate) anew: &'a HashSet<RoomNid>,
    pub(crate) events: E,
}

impl KnownMembers {
    pub(crate) fn new() -> Self {
        let weigh = |device: &DeviceKey, sent: &Arc<Mutex<Sent>>| {
            let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            u32::try_from(384 + device.as_str().len() + sent.capacity() * MEMBER)
                .unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(BYTES).weigher(weigh).build())
    }

    /// Those of `events` that a device presenting `since` may lack.
    pub(crate) fn unknown(
        &self,
        device: &DeviceKey,
        since: Pos,
        events: impl IntoIterator<Item = EventNid>,
    ) -> Vec<EventNid> {
        let Some(sent) = self.0.get(device) else { return events.into_iter().collect() };
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        events
            .into_iter()
            .filter(|event| sent.get(event).is_none_or(|(_, token)| *token > since))
            .collect()
    }

    /// Records which token a device presents. Call this before looking anything else up for the
    /// answer. Whatever the device was sent after that token never arrived; a device without a
    /// token starts over.
    pub(crate) fn presented(&self, device: &DeviceKey, since: Option<Pos>) {
        let Some(since) = since else { return self.0.invalidate(device) };
        if let Some(sent) = self.0.get(device) {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.retain(|_, (_, token)| *token <= since);
        }
    }

    /// Records what a device is sent.
    pub(crate) fn sent(
        &self,
        device: &DeviceKey,
        sending: SentMembers<'_, impl IntoIterator<Item = (RoomNid, EventNid)>>,
    ) {
        let SentMembers { since, token, anew, events } = sending;
        let mut events = events.into_iter().peekable();
        let known = self.0.get(device);
        let is_new = known.is_none();
        if is_new && events.peek().is_none() {
            return;
        }
        let shared = known.unwrap_or_default();
        let mut sent = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let capacity = sent.capacity();
        // Another answer may have been given meanwhile for a request that this one repeats.
        let has_arrived = |token: Pos| since.is_some_and(|since| token <= since);
        sent.retain(|_, (room, token)| !anew.contains(room) && has_arrived(*token));
        for (room, event) in events {
            if sent.len() >= MEMBERS {
                sent.clear();
            }
            sent.entry(event).or_insert((room, token));
        }
        let has_grown = sent.capacity() != capacity;
        drop(sent);
        if is_new || has_grown {
            // Inserting it again makes the cache weigh it again.
            self.0.insert(device.clone(), shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomNid = RoomNid(1);

    fn device(name: &str) -> DeviceKey {
        name.to_owned().into()
    }

    fn send(known: &KnownMembers, since: Option<i64>, token: i64, events: &[EventNid]) {
        let events = events.iter().map(|event| (ROOM, *event));
        let (since, token) = (since.map(Pos), Pos(token));
        known.presented(&device("d"), since);
        known.sent(&device("d"), SentMembers { since, token, anew: &HashSet::new(), events });
    }

    #[test]
    fn a_member_is_known_once_the_device_presents_the_token() {
        let known = KnownMembers::new();
        let event = EventNid(7);
        assert_eq!(known.unknown(&device("d"), Pos(1), [event]), [event]);
        send(&known, Some(1), 5, &[event]);
        assert_eq!(known.unknown(&device("d"), Pos(1), [event]), [event], "the answer was lost");
        assert_eq!(known.unknown(&device("d"), Pos(5), [event]), []);
        assert_eq!(known.unknown(&device("other"), Pos(5), [event]), [event]);
    }

    #[test]
    fn devices_with_many_members_do_not_exceed_the_memory_limit() {
        let known = KnownMembers::new();
        for number in 0..2_000 {
            let events = (0..400).map(|nid| (ROOM, EventNid(nid)));
            let sending = SentMembers { since: None, token: Pos(1), anew: &HashSet::new(), events };
            known.sent(&device(&number.to_string()), sending);
        }
        known.0.run_pending_tasks();
        assert!(known.0.weighted_size() <= BYTES);
        let bytes: usize = known.0.iter().map(|(_, sent)| sent.lock().unwrap().capacity()).sum();
        assert!(bytes * MEMBER <= usize::try_from(BYTES).unwrap());
        assert!(known.0.entry_count() > 100);
    }

    #[test]
    fn members_of_a_lost_answer_stay_unknown() {
        let known = KnownMembers::new();
        let event = EventNid(7);
        send(&known, Some(1), 5, &[event]);
        // The device asks again with token 1 and gets an answer up to 9.
        send(&known, Some(1), 9, &[event]);
        assert_eq!(known.unknown(&device("d"), Pos(6), [event]), [event]);
        assert_eq!(known.unknown(&device("d"), Pos(9), [event]), []);
        // The next answer lacks the event, perhaps because the client asked with another filter.
        for others in [&[EventNid(8)][..], &[]] {
            send(&known, Some(9), 12, &[EventNid(6)]);
            send(&known, Some(9), 12, others);
            assert_eq!(known.unknown(&device("d"), Pos(12), [event, EventNid(6)]), [EventNid(6)]);
        }
        // The next answer has no news of any room.
        send(&known, Some(12), 13, &[EventNid(5)]);
        known.presented(&device("d"), Some(Pos(12)));
        assert_eq!(known.unknown(&device("d"), Pos(14), [EventNid(5)]), [EventNid(5)]);
    }

    #[test]
    fn a_device_without_a_token_knows_nothing() {
        let known = KnownMembers::new();
        send(&known, None, 5, &[EventNid(7)]);
        send(&known, None, 6, &[]);
        assert_eq!(known.unknown(&device("d"), Pos(6), [EventNid(7)]), [EventNid(7)]);
    }

    #[test]
    fn an_answer_to_a_request_that_was_repeated_does_not_count() {
        let known = KnownMembers::new();
        let event = EventNid(7);
        // The device has repeated its request when the first answer is made.
        known.presented(&device("d"), Some(Pos(5)));
        known.presented(&device("d"), Some(Pos(5)));
        for (token, events) in [(9, vec![(ROOM, event)]), (10, vec![])] {
            let (since, token) = (Some(Pos(5)), Pos(token));
            known.sent(&device("d"), SentMembers { since, token, anew: &HashSet::new(), events });
        }
        assert_eq!(known.unknown(&device("d"), Pos(10), [event]), [event]);
    }

    #[test]
    fn members_of_a_room_sent_in_full_are_forgotten() {
        let known = KnownMembers::new();
        let event = EventNid(7);
        send(&known, Some(1), 5, &[event]);
        let anew = |room: i64| {
            let anew = &HashSet::from([RoomNid(room)]);
            known.presented(&device("d"), Some(Pos(5)));
            let since = Some(Pos(5));
            known.sent(&device("d"), SentMembers { since, token: Pos(6), anew, events: [] });
            known.unknown(&device("d"), Pos(6), [event])
        };
        assert_eq!(anew(2), []);
        assert_eq!(anew(1), [event]);
    }
}
