//! A kind of sync other than v3: a window of the most recently active rooms, with only their
//! timelines. It uses the news of rooms unchanged.

use std::{cmp::Reverse, collections::HashMap};

use ruma::OwnedRoomId;
use serde_json::json;
use stoa_base::{Pos, RoomNid};
use stoa_sync::{
    KnownState, Reader, Span,
    filter::EventFilter,
    room_news::{Beside, Question, room_news},
    wants::{EventFormat, Members, StateWants, TimelineWants, Wants},
};
use stoa_testing::both_databases;

use crate::{
    client::{brief, phone},
    site::{Site, object, user_id},
};

/// Timelines of two events, and nothing else.
const WANTS: Wants<'_> = Wants {
    timeline: TimelineWants { filter: EventFilter::ALL, limit: 2 },
    state: StateWants { filter: EventFilter::NOTHING, members: Members::All, at_end: true },
    ephemeral: EventFilter::NOTHING,
    account_data: EventFilter::NOTHING,
    format: EventFormat::Client,
    fields: None,
};

/// A device that is shown the two most recently active rooms.
struct RecentRooms {
    reader: Reader,
    /// Up to where the device has each room that it was shown.
    known: HashMap<RoomNid, Pos>,
    since: Option<Pos>,
}

/// What the device is sent of a room.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    room_id: OwnedRoomId,
    timeline: Vec<String>,
    limited: bool,
}

impl RecentRooms {
    fn new(name: &str) -> Self {
        let reader = Reader::new(&user_id(name), phone(name));
        Self { reader, known: HashMap::new(), since: None }
    }

    /// The most recent rooms, newest first, with what the device does not have yet.
    async fn sync(&mut self, site: &Site) -> Vec<Told> {
        site.catch_up().await;
        let head = site.node.tailer.applied();
        let memberships = site.rooms.memberships.of(&self.reader.user_id).await.unwrap();
        let joined = memberships.joined().iter().copied();
        let mut rooms = Vec::new();
        for room in site.rooms.known.by_nids(joined).await.unwrap().into_values() {
            rooms.push((Reverse(site.rooms.known.committed(&room).await.unwrap().head_pos), room));
        }
        rooms.sort_by_key(|(moved, _)| *moved);
        let spans = rooms.into_iter().take(2).map(|(_, room)| {
            let after = self.known.insert(room.nid, head);
            Span {
                room,
                after,
                up_to: head,
                state: after.map_or(KnownState::Nothing, KnownState::At),
                members_since: None,
                has_gap: false,
                end: None,
            }
        });
        let spans: Vec<Span> = spans.collect();
        let since = self.since.replace(head);
        let beside = &Beside::default();
        let question = Question { spans: &spans, wants: &WANTS, beside, since, head };
        let news = room_news(&site.sources, &self.reader, question).await.unwrap();
        news.map(|(span, news)| {
            assert!(news.state.is_empty());
            Told {
                room_id: span.room.id.clone(),
                timeline: brief(&json!({ "events": news.timeline })),
                limited: news.limited,
            }
        })
        .collect()
    }
}

fn told(room_id: &OwnedRoomId, timeline: &[&str], limited: bool) -> Told {
    let timeline = timeline.iter().map(|&event| event.to_owned()).collect();
    Told { room_id: room_id.clone(), timeline, limited }
}

both_databases! {
    async fn the_most_recently_active_rooms_come_first(db: TestDatabase) {
        let site = Site::start(db).await;
        let mut rooms = Vec::new();
        for _ in 0..3 {
            rooms.push(site.create("alice").await);
        }
        let [a, b, c] = &*rooms else { panic!("three rooms") };
        for (room, body) in [(a, "a1"), (b, "b1"), (c, "c1"), (a, "a2")] {
            site.send("alice", room, body).await;
        }
        let mut alice = RecentRooms::new("alice");
        let first = alice.sync(&site).await;
        assert_eq!(first[0], told(a, &["a1", "a2"], true));
        assert_eq!((&first[1].room_id, &*first[1].timeline[1]), (c, "c1"));
        assert_eq!(first.len(), 2);

        site.send("alice", b, "b2").await;
        let second = alice.sync(&site).await;
        assert_eq!(second, [told(b, &["b1", "b2"], true), told(a, &[], false)]);
        // The device has been shown this room before.
        site.send("alice", c, "c2").await;
        let third = alice.sync(&site).await;
        assert_eq!(third, [told(c, &["c2"], false), told(b, &[], false)]);
        for body in ["a3", "a4", "a5"] {
            site.send("alice", a, body).await;
        }
        assert_eq!(alice.sync(&site).await[0], told(a, &["a4", "a5"], true));
    }

    async fn only_events_that_the_reader_may_see_are_shown(db: TestDatabase) {
        let site = Site::start(db).await;
        let joined = object(json!({ "history_visibility": "joined" }));
        let visibility = ("m.room.history_visibility".into(), String::new(), joined);
        let room = site.create_with("alice", |create| create.initial_state.push(visibility)).await;
        let private = site.create("alice").await;
        site.send("alice", &room, "secret").await;
        site.join("bob", &room).await;
        site.send("alice", &private, "private").await;
        let mut bob = RecentRooms::new("bob");
        assert_eq!(bob.sync(&site).await, [told(&room, &["history_visibility", "bob:join"], true)]);
        site.send("alice", &room, "hello").await;
        assert_eq!(bob.sync(&site).await, [told(&room, &["hello"], false)]);
    }
}
