//! The sizes that the caches report are those that they really take. This runs in a separate
//! process, because the memory of the whole process is measured.

#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use ruma::{CanonicalJsonObject, UserId, canonical_json::to_canonical_value};
use serde_json::json;
use stoa_base::Actor;
use stoa_rooms::RoomsOptions;
use stoa_testing::{Backend, TestRooms, public_room, run_on, surgery};

const MIB: u64 = 1 << 20;
const USERS: usize = 150;
const ROOMS: usize = 2_000;

/// How many bytes of memory this process takes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

fn object(value: serde_json::Value) -> CanonicalJsonObject {
    to_canonical_value(value).unwrap().as_object().unwrap().clone()
}

fn bytes(site: &TestRooms, cache: &str) -> u64 {
    let cached = site.rooms.caches.bytes();
    cached.into_iter().find(|(name, _)| *name == cache).unwrap().1
}

#[test]
fn full_caches_stay_within_their_limits() {
    run_on(Backend::Sqlite, async |db| {
        let limit = 16 * MIB;
        let options =
            RoomsOptions { event_bytes: limit, membership_bytes: limit, ..RoomsOptions::default() };
        let site = TestRooms::start_with(db, options).await;

        // Users who are in very many rooms.
        let (users, rooms) = (i64::try_from(USERS).unwrap(), i64::try_from(ROOMS).unwrap());
        surgery::fill_memberships(&site.node.store, users, rooms).await;
        let before = resident();
        for user in 0..USERS {
            let user_id = UserId::parse(format!("@u{user}:test")).unwrap();
            assert_eq!(site.rooms.memberships.of(&user_id).await.unwrap().len(), ROOMS);
        }
        let (counted, taken) = (bytes(&site, "memberships"), resident().saturating_sub(before));
        assert!(counted <= limit && counted > limit / 2, "{counted}");
        assert!(taken < limit + 16 * MIB, "{taken} were taken, and {counted} counted");

        // Rooms full of events of nearly the maximum size.
        let before = resident();
        let alice = Actor::user(ruma::user_id!("@alice:test"));
        for _ in 0..12 {
            let room = site.rooms.creation.create(&alice, None, public_room()).await.unwrap();
            let room = site.rooms.known.by_id(&room).await.unwrap();
            for _ in 0..64 {
                let content = object(json!({ "body": "x".repeat(60_000) }));
                let kind = "m.room.message".into();
                let sent =
                    site.rooms.sending.send_message(&alice, None, &room, kind, content, None);
                sent.await.unwrap();
            }
        }
        let taken = resident().saturating_sub(before);
        for (cache, limit) in [("events", limit), ("recent_events", limit / 2)] {
            let counted = bytes(&site, cache);
            assert!(counted <= limit && counted > limit / 2, "{cache}: {counted}");
        }
        assert!(taken < limit + limit / 2 + 32 * MIB, "{taken} bytes were taken");
    });
}
